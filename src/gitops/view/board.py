"""`gitops status`: which version of each model runs in each environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from gitops.view.terminal import Colour, Line, clip, display_width, pad, paint, visible

MESSAGE_LIMIT = 48
"""Characters of a message inside the board; longer ones stand in full below it."""

_NOT_LOOKED = "Where a version stands alone, its live state was not looked at."


@dataclass(frozen=True, slots=True)
class Cell:
    """One model in one environment."""

    environment: str
    model: str
    released: str
    """The version in the GitOps repository; empty when there is none."""
    target: str
    """The version that the spec wants; empty when it wants none."""
    since: str
    """When `released` was released, RFC 3339; empty when nothing is."""
    ready: bool | None
    """Whether it does its work; None when that was not looked at."""
    message: str
    """Why it is not ready, in words."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A model, with a cell for every environment in the order of promotion."""

    model: str
    cells: tuple[Cell, ...]


def board(rows: Sequence[BoardRow], *, color: bool = False) -> str:
    """Models down, environments across; columns stand in the order in which the rows bring them."""
    if not rows:
        return "No models.\n"
    grid: list[list[tuple[str, Colour]]]
    grid = [[("MODEL", ""), *((name, "") for name in _environments(rows))], *_grid(rows)]
    widths = [max(display_width(text) for text, _ in column) for column in zip(*grid, strict=True)]
    return "".join(f"{_row(cells, widths, color)}\n" for cells in grid) + paint(_below(rows), color=color)


def board_document(rows: Sequence[BoardRow]) -> dict[str, object]:
    """The board for programs: every cell with all it says, and its `state` as one word."""
    models = [
        {"model": row.model, "environments": [asdict(cell) | {"state": state(cell)} for cell in row.cells]}
        for row in rows
    ]
    return {"schema": "gitops/status/v1", "environments": _environments(rows), "models": models}


def state(cell: Cell) -> str:
    """absent, pending, unwanted, unknown (not looked at), ready or waiting; what has to be done comes first."""
    if cell.released != cell.target:
        return "pending" if cell.target else "unwanted"
    if not cell.released:
        return "absent"
    if cell.ready is None:
        return "unknown"
    return "ready" if cell.ready else "waiting"


def _environments(rows: Sequence[BoardRow]) -> list[str]:
    return list(dict.fromkeys(cell.environment for row in rows for cell in row.cells))


def _grid(rows: Sequence[BoardRow]) -> Iterator[list[tuple[str, Colour]]]:
    environments = _environments(rows)
    for row in rows:
        cells = {cell.environment: cell for cell in row.cells}
        found = (cells.get(environment) for environment in environments)
        yield [(visible(row.model), ""), *((_words(cell), _colour(cell)) if cell else ("—", "") for cell in found)]


def _row(cells: Sequence[tuple[str, Colour]], widths: Sequence[int], color: bool) -> str:
    # Padding goes outside of the colour, and none after the last cell.
    painted = (paint([Line(text, colour)], color=color).removesuffix("\n") for text, colour in cells)
    fill = (pad("", width - display_width(text)) for (text, _), width in zip(cells, widths, strict=True))
    return "  ".join(text + spaces for text, spaces in zip(painted, fill, strict=True)).rstrip()


def _words(cell: Cell) -> str:
    change = {
        "pending": f" → spec {cell.target} pending",
        "unwanted": " → no longer in the spec",
    }.get(state(cell), "")
    return visible(_runs(cell) + change)


def _runs(cell: Cell) -> str:
    if not cell.released:
        return "—"
    if cell.ready is None:
        return cell.released
    if cell.ready:
        return cell.released if state(cell) in ("pending", "unwanted") else f"{cell.released} ready"
    return f"{cell.released} waiting" + (f": {clip(cell.message, MESSAGE_LIMIT)}" if cell.message else "")


def _colour(cell: Cell) -> Colour:
    if cell.released and cell.ready is False:
        return "red"
    return {"ready": "green", "pending": "yellow", "unwanted": "yellow"}.get(state(cell), "")  # type: ignore[return-value]


def _below(rows: Sequence[BoardRow]) -> Iterator[Line]:
    cells = [cell for row in rows for cell in row.cells]
    long = [cell for cell in cells if cell.ready is False and len(cell.message) > MESSAGE_LIMIT]
    if long:
        yield Line()
    for cell in long:
        yield Line(f"{cell.environment}/{cell.model}: {cell.message.strip()}", "red")
    if any(cell.released and cell.ready is None for cell in cells):
        yield Line()
        yield Line(_NOT_LOOKED)
