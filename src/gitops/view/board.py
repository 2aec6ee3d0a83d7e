"""`gitops status`: which version of each model runs in each environment, what is on its way, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from gitops.values import version_in_words
from gitops.view.standing import Share, answer, span, traffic_words
from gitops.view.terminal import Colour, Line, clip, display_width, pad, paint, visible

MESSAGE_LIMIT = 48
"""Characters of a message inside the board; longer ones stand in full below it."""

_NOT_LOOKED = "Where a version stands alone, its live state was not looked at."


@dataclass(frozen=True, slots=True)
class Rollout:
    """A version on its way. Percentages are of requests, in the clusters of the present wave."""

    version: str
    strategy: str
    phase: str
    step: int
    steps: int
    """How many steps there are; 0 for a rolling update, which follows ready capacity."""
    weight: int
    mirror: int
    wave: int
    """From 1; `waves` is how many there are."""
    waves: int
    started: str
    since: str
    """When the present weight was set, RFC 3339."""
    left: int | None
    """Seconds that it is still watched at this weight; None when something else is waited for."""
    words: str
    """What it does or waits for, and until when."""
    paused_by: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A version that gets no traffic until the spec names another or a person retries it."""

    version: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Warm:
    """A version without traffic whose pods still run."""

    version: str
    until: str
    left: int
    """Seconds until its pods go."""
    previous: bool
    """`gitops rollback` goes to it."""


class Running(NamedTuple):
    """How many replicas a version has on a cluster, and what is declared of it."""

    cluster: str
    version: str
    ready: int | None
    """None when that is not known."""
    replicas: int
    """As many as there should be now."""
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers requests in some clusters."""

    clusters: tuple[str, ...]
    shares: tuple[Share, ...]


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
    rollout: Rollout | None = None
    waits: str = ""
    """Why the target has not started; empty when it runs, is on its way, or may start."""
    rejected: tuple[Rejected, ...] = ()
    warm: tuple[Warm, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    """By wave, as Git says."""
    astray: tuple[str, ...] = ()
    """Clusters that show something else than Git says."""
    replicas: tuple[Running, ...] = ()
    """Of each version on each cluster that was looked at."""
    damage: str = ""
    """Why its release record cannot be read: nothing is known of it, and nothing is done to it."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A model, with a cell for every environment in the order of promotion."""

    model: str
    cells: tuple[Cell, ...]


def board(rows: Sequence[BoardRow], *, color: bool = False, width: int | None = None) -> str:
    """Models down, environments across; columns stand in the order in which the rows bring them.

    What does not simply run is explained below. A board wider than `width` says less in its cells, since the
    sentences below say it as well.
    """
    if not rows:
        return "No models.\n"
    grid = _grid(rows, brief=False)
    if width is not None and sum(_widths(grid)) + 2 * len(grid[0]) - 2 > width:
        grid = _grid(rows, brief=True)
    widths = _widths(grid)
    return "".join(f"{_row(cells, widths, color)}\n" for cells in grid) + paint(_below(rows), color=color)


def board_document(rows: Sequence[BoardRow]) -> dict[str, object]:
    """The board for programs: every cell with all it says, and its `state` as one word."""
    models = [{"model": row.model, "environments": [_cell_document(cell) for cell in row.cells]} for row in rows]
    return {"schema": "gitops/status/v1", "environments": _environments(rows), "models": models}


def state(cell: Cell) -> str:
    """damaged, paused, under-way, rejected, absent, pending, unwanted, unknown (not looked at), ready or waiting.

    What has to be done comes first.
    """
    if cell.damage:
        return "damaged"
    if cell.rollout:
        return "paused" if cell.rollout.phase == "paused" else "under-way"
    if cell.released != cell.target:
        if any(one.version == cell.target for one in cell.rejected):
            return "rejected"
        return "pending" if cell.target else "unwanted"
    if not cell.released:
        return "absent"
    if cell.ready is None:
        return "unknown"
    return "ready" if cell.ready else "waiting"


def _cell_document(cell: Cell) -> dict[str, object]:
    found = asdict(cell) | {"state": state(cell), "waitsFor": cell.waits}
    del found["waits"]
    found["traffic"] = [
        {"clusters": list(one.clusters), "versions": [share._asdict() for share in one.shares]} for one in cell.traffic
    ]
    found["replicas"] = [one._asdict() for one in cell.replicas]
    if cell.rollout:
        rollout = found["rollout"]
        rollout["pausedBy"] = rollout.pop("paused_by")
    return found


def _environments(rows: Sequence[BoardRow]) -> list[str]:
    return list(dict.fromkeys(cell.environment for row in rows for cell in row.cells))


# --- The grid ------------------------------------------------------------------------------------------------

_Grid = list[list[tuple[str, Colour]]]


def _grid(rows: Sequence[BoardRow], *, brief: bool) -> _Grid:
    environments = _environments(rows)
    grid: _Grid = [[("MODEL", ""), *((name, "") for name in environments)]]
    for row in rows:
        cells = {cell.environment: cell for cell in row.cells}
        found = [cells.get(environment) for environment in environments]
        shown: list[tuple[str, Colour]] = [(_words(one, brief), _colour(one)) if one else ("—", "") for one in found]
        grid.append([(visible(row.model), ""), *shown])
    return grid


def _widths(grid: _Grid) -> list[int]:
    return [max(display_width(text) for text, _ in column) for column in zip(*grid, strict=True)]


def _row(cells: Sequence[tuple[str, Colour]], widths: Sequence[int], color: bool) -> str:
    # Padding goes outside of the colour, and none after the last cell.
    painted = (paint([Line(text, colour)], color=color).removesuffix("\n") for text, colour in cells)
    fill = (pad("", width - display_width(text)) for (text, _), width in zip(cells, widths, strict=True))
    return "  ".join(text + spaces for text, spaces in zip(painted, fill, strict=True)).rstrip()


def _words(cell: Cell, brief: bool) -> str:
    if cell.damage:
        return "record damaged"
    target, released = version_in_words(cell.target), version_in_words(cell.released)
    if cell.rollout:
        return visible(f"{released or '—'} → {_under_way(cell.rollout, brief)}{_unready(cell, brief=True)}")
    change = {
        "pending": f", {target} waits" if cell.waits else f" → spec {target} pending",
        "rejected": f", {target} rejected",
        "unwanted": " → no longer in the spec",
    }.get(state(cell), "")
    return visible(_runs(cell, brief) + change)


def _under_way(one: Rollout, brief: bool) -> str:
    share = f"{one.mirror} % mirrored" if one.mirror else f"{one.weight} %"
    paused = " paused" if one.phase == "paused" else ""
    if brief:
        return f"{version_in_words(one.version)} {share}{paused}"
    notes = [
        one.strategy,
        *[f"wave {one.wave}/{one.waves}"] * (one.waves > 1),
        *[f"step {one.step}/{one.steps}"] * bool(one.step and one.steps),
        *[_AT.get(one.phase, "")] * (one.phase in _AT),
        *([f"{span(one.left)} left"] if one.left else []),
    ]
    return f"{version_in_words(one.version)} {share}{paused} ({', '.join(notes)})"


_AT = {"waiting-for-capacity": "waits for room", "starting": "gets ready", "promoting": "gets ready for all traffic"}


def _runs(cell: Cell, brief: bool) -> str:
    if not cell.released:
        return "—"
    released = version_in_words(cell.released)
    if cell.ready is False:
        return f"{released}{_unready(cell, brief=brief)}"
    plain = cell.ready is None or state(cell) in ("pending", "rejected", "unwanted")
    return released if plain else f"{released} ready"


def _unready(cell: Cell, *, brief: bool) -> str:
    if cell.ready is not False:
        return ""
    return " waiting" + (f": {clip(cell.message, MESSAGE_LIMIT)}" if cell.message and not brief else "")


def _colour(cell: Cell) -> Colour:
    if (cell.released and cell.ready is False) or state(cell) in ("rejected", "damaged"):
        return "red"
    return {"ready": "green", "pending": "yellow", "paused": "yellow", "under-way": "yellow", "unwanted": "yellow"}.get(
        state(cell), ""
    )  # type: ignore[return-value]


# --- Below ---------------------------------------------------------------------------------------------------


def _below(rows: Sequence[BoardRow]) -> Iterator[Line]:
    cells = [cell for row in rows for cell in row.cells]
    notes = [(f"{cell.environment}/{cell.model}", note) for cell in cells for note in _notes(cell)]
    width = max((display_width(visible(unit)) for unit, _ in notes), default=0)
    if notes:
        yield Line()
    for unit, note in notes:
        yield Line(f"{pad(visible(unit), width)}  {note.text}", note.colour)
    if any(cell.released and cell.ready is None for cell in cells):
        yield Line()
        yield Line(_NOT_LOOKED)


def _notes(cell: Cell) -> Iterator[Line]:
    """Everything that somebody who is called at night wants to know of it: who serves, why, and what to do."""
    unit, serves = f"{cell.environment}/{cell.model}", _serves(cell)
    if cell.rollout:
        paused = cell.rollout.phase == "paused"
        yield Line(f"{serves}; {cell.rollout.words}{_hint(unit, cell.rollout.words)}", "yellow" if paused else "")
    for one in cell.rejected:
        back = f"; gitops retry {unit}" if one.version == cell.target else ""
        yield Line(f"{version_in_words(one.version)} is rejected since {one.at}: {one.reason}; {serves}{back}", "red")
    if cell.waits and state(cell) != "rejected":
        said = f"{cell.waits}{_hint(unit, cell.waits)}"
        yield Line(f"{said}; {serves}" if serves else said, "yellow")
    for warm in cell.warm:
        if warm.previous:
            yield Line(
                f"{version_in_words(warm.version)} stays warm for {span(warm.left)} more (gitops rollback {unit})"
            )
    if cell.ready is False and (cell.rollout or len(cell.message) > MESSAGE_LIMIT):
        yield Line(cell.message.strip(), "red")
    if cell.damage:
        yield Line(f"left alone: {cell.damage}", "red")
    for words in dict.fromkeys(filter(None, map(_replica_words, cell.replicas))):
        yield Line(words)
    if cell.astray:
        yield Line(f"is not as Git says on {', '.join(cell.astray)}: gitops reconcile brings it there", "red")


def _replica_words(one: Running) -> str:
    """What an autoscaler runs, where that is more than the least."""
    if one.replicas <= one.least:
        return ""
    ready = "" if one.ready in (None, one.replicas) else f", {one.ready} of them ready"
    return f"{one.version} runs {one.replicas} replicas on {one.cluster}{ready} (declared: {one.least} to {one.most})"


def _hint(unit: str, why: str) -> str:
    command = answer(why).format(unit)
    return f" ({command})" if command else ""


def _serves(cell: Cell) -> str:
    """`2.4.0 10 %, 2.3.0 90 %`, or `2.3.0 serves all traffic`; by cluster where waves differ."""
    found = list(dict.fromkeys(one.shares for one in cell.traffic))
    if not any(found):
        return ""
    if len(found) == 1:
        whole = len(found[0]) == 1 and found[0][0].weight == 100
        return f"{version_in_words(found[0][0].version)} serves all traffic" if whole else traffic_words(found[0])
    return "; ".join(f"{', '.join(one.clusters)}: {traffic_words(one.shares)}" for one in cell.traffic)
