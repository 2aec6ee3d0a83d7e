"""The labelled samples of a build, asked again of what is served."""

from pathlib import Path

import numpy as np
import pytest

from gitops.errors import GitopsError
from gitops.stages.endpoints import Target
from gitops.stages.protocols.triton import Triton
from gitops.stages.served import Labelled, run_served
from tests.stages.endpoint import MODEL, Server

ROWS = np.random.Generator(np.random.PCG64(0)).normal(size=(40, 2)).astype("float32")


def samples(path: Path, wrong: int = 0, name: str = "IN") -> Path:
    """The server doubles what it gets, so that it is right where the label is the larger of the two."""
    labels = ROWS.argmax(axis=1)
    labels[:wrong] = 1 - labels[:wrong]
    np.savez(path / "samples.npz", **{name: ROWS}, labels=labels)
    return path / "samples.npz"


def target(server: Server) -> Target:
    return Target(server.url, Triton(MODEL), MODEL)


@pytest.mark.parametrize(("least", "passed"), [(90.0, True), (90.1, False)])
def test_the_share_of_right_answers_is_held_to_the_limit(tmp_path: Path, least: float, passed: bool) -> None:
    with Server() as server:
        result = run_served(target(server), Labelled(samples(tmp_path, wrong=4), "OUT", least))
    assert result.passed is passed
    assert result.figures == {"accuracy-percent": 90.0, "labelled-samples": 40.0}
    assert result.checks[0].got == "90.00 % (40 samples)"


def test_answers_that_do_not_come_are_wrong_and_none_is_no_verdict(tmp_path: Path) -> None:
    labelled = Labelled(samples(tmp_path), None, 50.0)
    with Server(fault="500") as server, pytest.raises(GitopsError, match="no sample was answered: status 500"):
        run_served(target(server), labelled)


def test_an_output_that_is_not_there_is_never_right(tmp_path: Path) -> None:
    with Server() as server:
        assert run_served(target(server), Labelled(samples(tmp_path), "scores", 50.0)).figures["accuracy-percent"] == 0


def test_what_is_no_samples_is_said(tmp_path: Path) -> None:
    with Server() as server:
        with pytest.raises(GitopsError, match="there is no array 'IN'") as caught:
            run_served(target(server), Labelled(samples(tmp_path, name="features"), None, 50.0))
        assert "it has features" in caught.value.hint
        (tmp_path / "samples.npz").write_bytes(b"nothing")
        with pytest.raises(GitopsError, match="these are no labelled samples"):
            run_served(target(server), Labelled(tmp_path / "samples.npz", None, 50.0))
        np.savez(tmp_path / "samples.npz", IN=ROWS[:3], labels=ROWS.argmax(axis=1))
        with pytest.raises(GitopsError, match="there is not a sample for each label"):
            run_served(target(server), Labelled(tmp_path / "samples.npz", None, 50.0))
