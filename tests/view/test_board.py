"""The board of `gitops status`."""

from __future__ import annotations

import re
from dataclasses import replace

import orjson
import pytest
from jsonschema import Draft202012Validator

from gitops.view.board import BoardRow, Cell, Rejected, Rollout, Running, Traffic, Warm, board, board_document, state
from gitops.view.schema import schema_of
from gitops.view.standing import Share
from gitops.view.terminal import display_width
from tests.plan.test_document import closed
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


WHOLE = (Traffic(("aws",), (Share("2.4.0", 100),)),)
SPLIT = (Traffic(("aws",), (Share("2.5.0", 10), Share("2.4.0", 90))),)
MIRRORED = (Traffic(("laptop",), (Share("2.5.0", 0, 10), Share("2.4.0", 100))),)
CANARY = Rollout(
    "2.5.0", "canary", "baking", 2, 4, 10, 0, 1, 1, SINCE, SINCE, left=510, words="watched for 8m 30s more"
)
PAUSED = replace(
    CANARY, phase="paused", left=None, words="paused, rolls back in 23h 00m otherwise: paused by ada", paused_by="ada"
)
WAVES = replace(CANARY, wave=2, waves=3)
SHADOW = replace(CANARY, strategy="shadow", weight=0, mirror=10, steps=2)
STARTING = replace(CANARY, phase="starting", step=0, weight=0, left=None, words="waits for ready capacity")


def releasing(environment: str, model: str = "chat", **fields: object) -> Cell:
    """2.4.0 runs, 2.5.0 is what the spec names."""
    return replace(cell(environment, model, "2.4.0", "2.5.0"), **{"traffic": WHOLE, **fields})  # type: ignore[arg-type]


ROLLING_OUT = (
    BoardRow(
        "chat",
        (
            replace(
                cell("dev", "chat", "2.5.0", "2.5.0"),
                traffic=(Traffic(("laptop",), (Share("2.5.0", 100),)),),
                warm=(Warm("2.4.0", SINCE, 2520, previous=True), Warm("2.3.9", SINCE, 60, previous=False)),
            ),
            replace(releasing("staging", rollout=CANARY), traffic=SPLIT),
            releasing("production", waits="2.5.0 waits: not verified in staging yet"),
        ),
    ),
    BoardRow(
        "assistant",
        (
            replace(releasing("dev", "assistant", rollout=PAUSED), traffic=SPLIT),
            releasing(
                "staging", "assistant", rejected=(Rejected("2.5.0", "latency-p99 640 ms, stable 398 ms: fail", SINCE),)
            ),
            releasing("production", "assistant", waits="2.5.0 waits for approval: 1 of 2 (alice@acme.example)"),
        ),
    ),
    BoardRow(
        "embedder",
        (
            replace(releasing("dev", "embedder", rollout=SHADOW), traffic=MIRRORED),
            releasing(
                "staging", "embedder", rollout=STARTING, ready=False, message="acme-staging: 1 of 2 replicas ready"
            ),
            replace(
                releasing("production", "embedder", rollout=WAVES, astray=("aws-west",)),
                traffic=(
                    Traffic(("aws-east",), (Share("2.5.0", 100),)),
                    Traffic(("aws-west", "aws-north"), SPLIT[0].shares),
                    Traffic(("aws-south",), WHOLE[0].shares),
                ),
            ),
        ),
    ),
)


def test_golden() -> None:
    goldens.check("board.txt", board(ROWS))


def test_golden_of_rollouts() -> None:
    goldens.check("board-rollouts.txt", board(ROLLING_OUT))


def test_a_narrow_terminal_gets_short_cells() -> None:
    goldens.check("board-narrow.txt", board(ROLLING_OUT, width=100))
    assert board(ROLLING_OUT, width=1000) == board(ROLLING_OUT)


def test_a_document_of_rollouts() -> None:
    schema = schema_of("status")
    Draft202012Validator.check_schema(schema)
    document = orjson.loads(orjson.dumps(board_document((*ROWS, *ROLLING_OUT))))
    Draft202012Validator(closed(schema)).validate(document)
    states = {
        f"{one['environment']}/{one['model']}": one["state"]
        for row in board_document(ROLLING_OUT)["models"]  # type: ignore[attr-defined]
        for one in row["environments"]
    }
    assert states == {
        "dev/chat": "ready",
        "staging/chat": "under-way",
        "production/chat": "pending",
        "dev/assistant": "paused",
        "staging/assistant": "rejected",
        "production/assistant": "pending",
        "dev/embedder": "under-way",
        "staging/embedder": "under-way",
        "production/embedder": "under-way",
    }


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


def test_reasons_cannot_drive_the_terminal() -> None:
    evil = "x\x1b[2J\u202e\n"
    text = board(
        [
            BoardRow(
                evil,
                (
                    replace(
                        releasing(evil, waits=evil, message=evil, ready=False),
                        rollout=replace(PAUSED, version=evil, words=evil, paused_by=evil),
                        rejected=(Rejected(evil, evil, evil),),
                        traffic=(Traffic((evil,), (Share(evil, 1),)), Traffic((evil,), (Share(evil, 2),))),
                        warm=(Warm(evil, evil, 1, previous=True),),
                        astray=(evil,),
                    ),
                ),
            )
        ]
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    assert len(text.splitlines()) == 2 + 1 + 6


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
        "rollout": None,
        "rejected": [],
        "warm": [],
        "traffic": [],
        "astray": [],
        "replicas": [],
        "damage": "",
        "state": "waiting",
        "waitsFor": "",
    }


def test_what_an_autoscaler_runs_stands_beside_what_is_declared() -> None:
    running = (Running("dev", "1.0.0", 3, 4, 2, 4), Running("eu", "1.0.0", 2, 2, 2, 4))
    there = Cell("dev", "chat", "1.0.0", "1.0.0", "2026-01-01T00:00:00Z", True, "", replicas=running)
    shown = board([BoardRow("chat", (there,))])
    assert "1.0.0 runs 4 replicas on dev, 3 of them ready (declared: 2 to 4)" in shown
    assert "on eu" not in shown
