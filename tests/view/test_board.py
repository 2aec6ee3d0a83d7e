"""The board of `gitops status`."""

from __future__ import annotations

import re

import orjson
import pytest

from gitops.view.board import BoardRow, Cell, board, board_document, state
from gitops.view.terminal import display_width
from tests.view import goldens

SINCE = "2026-11-21T02:00:00Z"


def cell(
    environment: str, model: str, released: str, target: str, ready: bool | None = True, message: str = ""
) -> Cell:
    return Cell(environment, model, released, target, SINCE if released else "", ready, message)


def row(model: str, *cells: tuple[str, str, bool | None, str]) -> BoardRow:
    environments = ("dev", "staging", "production")
    return BoardRow(model, tuple(cell(name, model, *rest) for name, rest in zip(environments, cells, strict=True)))


ROWS = (
    row(
        "support-chat",
        ("2.3.0", "2.3.0", True, ""),
        ("2.3.0", "2.3.0", False, "2 of 3 replicas available"),
        ("2.2.0", "2.3.0", True, ""),
    ),
    row("埋め込み", ("1.0.0", "1.0.0", None, ""), ("", "", None, ""), ("", "1.0.0", None, "")),
    row(
        "retired",
        ("1.0.0", "", True, ""),
        ("1.0.0", "1.1.0", False, "0 of 1 replicas available: " + "no node fits, " * 5),
        ("", "", None, ""),
    ),
)


def test_golden() -> None:
    goldens.check("board.txt", board(ROWS))


def test_columns_are_aligned_by_display_width() -> None:
    head, chat, embedder, retired = board(ROWS).splitlines()[:4]
    second = {head: "staging", chat: "2.3.0 waiting", embedder: "—", retired: "1.0.0 waiting"}
    assert len({display_width(line[: line.index(text)]) for line, text in second.items()}) == 1


def test_colour_changes_nothing_else() -> None:
    coloured = board(ROWS, color=True)
    assert "\x1b[32m2.3.0 ready\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == board(ROWS)


@pytest.mark.parametrize(
    ("released", "target", "ready", "expected"),
    [
        ("1", "1", True, "ready"),
        ("1", "1", False, "waiting"),
        ("1", "1", None, "unknown"),
        ("1", "2", True, "pending"),
        ("", "2", None, "pending"),
        ("1", "", True, "unwanted"),
        ("", "", None, "absent"),
    ],
)
def test_state(released: str, target: str, ready: bool | None, expected: str) -> None:
    assert state(cell("dev", "m", released, target, ready)) == expected


def test_messages_cannot_drive_the_terminal() -> None:
    text = board([row("m\x1b[2J", *[("1\n", "1\n", False, "a\nb\x1b[2J" * 20)] * 3)])
    assert "\x1b" not in text
    assert len(text.splitlines()) == 6


def test_no_models() -> None:
    assert board([]) == "No models.\n"


def test_a_thousand_models() -> None:
    rows = [row(f"model-{i}", *[("1.0.0", "1.0.0", True, "")] * 3) for i in range(1000)]
    assert len(board(rows).splitlines()) == 1001


def test_document() -> None:
    document = orjson.loads(orjson.dumps(board_document(ROWS)))
    assert document["environments"] == ["dev", "staging", "production"]
    assert document["models"][0]["environments"][1] == {
        "environment": "staging",
        "model": "support-chat",
        "released": "2.3.0",
        "target": "2.3.0",
        "since": SINCE,
        "ready": False,
        "message": "2 of 3 replicas available",
        "state": "waiting",
    }
