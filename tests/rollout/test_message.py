"""Commit messages, read back by Git itself."""

from __future__ import annotations

import subprocess
from itertools import product

import pytest

from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import SpecSource
from gitops.values import UnitKey

CHAT = UnitKey("production", "support-chat")
SOURCE = SpecSource("4f2c" * 10)


def trailers(message: str) -> list[str]:
    command = ["git", "interpret-trailers", "--parse"]
    done = subprocess.run(command, input=message, capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.splitlines()


def test_one_unit() -> None:
    message = commit_message([Released(CHAT, "2.3.0", "2.2.0")], [], [], "01JD0Q", SOURCE, ["Ten of ten gates passed."])
    assert message == (
        "release(production/support-chat): 2.3.0\n"
        "\n"
        "2.2.0 to 2.3.0, at once.\n"
        "\n"
        "Ten of ten gates passed.\n"
        "\n"
        "Rollout: 01JD0Q\n"
        "Model: support-chat\n"
        "Environment: production\n"
        "Version: 2.3.0\n"
        "Previous-Version: 2.2.0\n"
        "Weight: 100\n"
        "Decision: release\n"
        "Release: production/support-chat 2.3.0 2.2.0\n"
        f"Spec-Commit: {SOURCE.commit}\n"
    )
    assert trailers(message) == message.split("\n\n")[-1].splitlines()


@pytest.mark.parametrize(
    ("previous", "subject", "sentence", "decision"),
    [
        ("", "release(production/support-chat): 2.3.0", "First release: 2.3.0, at once.", "release"),
        ("2.3.0", "release(production/support-chat): 2.3.0 reconfigured", "Configuration of 2.3.0 changed.", "update"),
    ],
)
def test_other_kinds_of_release(previous: str, subject: str, sentence: str, decision: str) -> None:
    message = commit_message([Released(CHAT, "2.3.0", previous)], [], [], "R", SpecSource("a" * 40, modified=True))
    assert message.split("\n")[:3] == [subject, "", sentence]
    assert f"Decision: {decision}" in trailers(message)
    assert f"Spec-Commit: {'a' * 40} (modified)" in trailers(message)


def test_a_removal() -> None:
    message = commit_message([], [CHAT], [], "R", SpecSource())
    assert message.startswith("release(production/support-chat): removed\n\nNo longer in the pipeline.\n\n")
    assert trailers(message) == [
        "Rollout: R",
        "Model: support-chat",
        "Environment: production",
        "Decision: remove",
        "Removed: production/support-chat",
    ]


def test_fifteen_units() -> None:
    models = ("chat", "embed", "rank", "speech", "vision")
    units = [UnitKey(*pair) for pair in product(("dev", "staging", "production"), models)]
    released = [Released(unit, "2.0", "1.0" if unit.model != "chat" else "") for unit in units]
    message = commit_message(released, [UnitKey("dev", "old")], ["aws"], "R", SOURCE)
    lines = message.splitlines()
    assert lines[0] == "release: 15 units, 1 removed in dev, staging and production"
    assert message.split("\n\n")[1] == (
        "dev\n  chat    2.0 (first release)\n  embed   1.0 to 2.0\n  rank    1.0 to 2.0\n"
        "  speech  1.0 to 2.0\n  vision  1.0 to 2.0\n  old     removed"
    )
    assert "Infrastructure: aws." in lines
    found = trailers(message)
    assert len([line for line in found if line.startswith("Release: ")]) == 15
    assert found[:2] == ["Rollout: R", "Decision: release"]
    assert found[-3:] == ["Removed: dev/old", "Infrastructure: aws", f"Spec-Commit: {SOURCE.commit}"]


def test_three_thousand_units_hide_nothing() -> None:
    units = [UnitKey(f"environment-number-{part}", f"m{number}") for part in range(5) for number in range(600)]
    message = commit_message([Released(unit, "2", "1") for unit in units], [], [], "R", SOURCE)
    assert message.splitlines()[0] == "release: 3,000 units in 5 environments"
    assert message.count("1 to 2") == 3000
    assert len(trailers(message)) == 3003


@pytest.mark.parametrize(
    ("clusters", "subject"),
    [
        (["aws-production"], "infrastructure(aws-production): update"),
        (["aws", "gcp"], "infrastructure: aws and gcp"),
        ([f"a-rather-long-name-{number}" for number in range(9)], "infrastructure: 9 clusters"),
        ([], "gitops: shared files"),
    ],
)
def test_no_unit(clusters: list[str], subject: str) -> None:
    message = commit_message([], [], clusters, "R", SOURCE)
    assert message.splitlines()[0] == subject
    wanted = ["Rollout: R", "Decision: update", *(f"Infrastructure: {name}" for name in clusters)]
    assert trailers(message)[:-1] == wanted


@pytest.mark.parametrize(
    "text",
    [
        "x\n\nModel: forged",
        "Model: forged",
        "x\r\rModel: forged",
        "\u2028Model: forged",
        "---",
        "--- x",
        "#c",
        "\0",
        "",
        "-- x",
    ],
)
def test_no_text_forges_a_trailer(text: str) -> None:
    honest = commit_message([Released(CHAT, "2", "1")], [], ["aws"], "R", SOURCE)
    keys = [line.split(":")[0] for line in trailers(honest)]
    noted = commit_message([Released(CHAT, "2", "1")], [], ["aws"], "R", SOURCE, [text, "fine", text])
    assert trailers(noted) == trailers(honest)
    odd = commit_message([Released(UnitKey(f"e{text}", f"m{text}"), f"2{text}", f"1{text}")], [], ["aws"], "R", SOURCE)
    assert [line.split(":")[0] for line in trailers(odd)] == keys
    assert "Model: forged" not in trailers(odd)
