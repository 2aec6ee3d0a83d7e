"""Both clocks: one that waits and can be woken, one that goes on at once for everybody."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.clock import Clock, RealClock
from gitops.world.embedded.clock import FILE, EmbeddedClock

SOURCE = Path(__file__).parents[2] / "src"


def test_the_real_clock_tells_the_time_and_waits() -> None:
    clock: Clock = RealClock()
    before, begun = clock.now(), time.monotonic()
    clock.sleep(0.15)
    assert 0.15 <= time.monotonic() - begun < 5
    assert abs(clock.now() - time.time()) < 5
    assert clock.now() >= before


def test_a_sleep_of_nothing_ends_at_once() -> None:
    begun = time.monotonic()
    RealClock().sleep(0)
    RealClock().sleep(-10)
    assert time.monotonic() - begun < 1


def test_a_stop_ends_the_sleep() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    RealClock(stop.is_set).sleep(60)
    assert time.monotonic() - begun < 5


def test_sigterm_ends_the_sleep() -> None:
    """The handler of a signal sets the event; the program ends in its own orderly way."""
    program = (
        "import signal, threading\n"
        "from gitops.world.clock import RealClock\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        "print('ready', flush=True)\n"
        "RealClock(stop.is_set).sleep(60)\n"
        "print('over', flush=True)\n"
    )
    environment = {"PYTHONPATH": str(SOURCE)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        out, _ = child.communicate(timeout=20)
    assert (out, child.returncode) == ("over\n", 0)


class Real:
    """The machine's time, which stands still unless a test moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_virtual_time_goes_on_by_what_was_slept_and_by_real_time(tmp_path: Path) -> None:
    real = Real()
    clock = EmbeddedClock(tmp_path / "world" / FILE, real)
    assert clock.now() == 1_000_000
    clock.sleep(3600)
    assert clock.now() == 1_003_600
    real.now += 5
    clock.sleep(0.25)
    clock.sleep(-100)
    assert clock.now() == pytest.approx(1_003_605.25)


def test_the_next_process_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    real = Real()
    EmbeddedClock(tmp_path / FILE, real).sleep(7200)
    assert EmbeddedClock(tmp_path / FILE, real).now() == 1_007_200


def test_the_lead_only_grows(tmp_path: Path) -> None:
    real = Real()
    clock = EmbeddedClock(tmp_path / FILE, real)
    clock.sleep(1000)
    real.now -= 500  # somebody sets the machine's clock back
    before = clock.now()
    clock.sleep(10)
    assert clock.now() >= before + 10


def test_two_who_sleep_at_once_wait_together(tmp_path: Path) -> None:
    begun = threading.Barrier(8)

    def sleeper(_: int) -> float:
        clock = EmbeddedClock(tmp_path / FILE, Real())
        assert clock.now() == 1_000_000
        begun.wait()
        until = clock.now() + 60
        clock.sleep(60)
        return clock.now() - until

    with ThreadPoolExecutor(8) as pool:
        assert all(late >= 0 for late in pool.map(sleeper, range(8)))
    # Who sleeps behind another one's sleep adds to it; who sleeps beside it does not: never more than all in turn.
    assert 60 <= EmbeddedClock(tmp_path / FILE, Real()).now() - 1_000_000 <= 8 * 60


def test_processes_share_the_clock_and_lose_no_time(tmp_path: Path) -> None:
    """Three processes sleep in turns of their own; nobody ever sees the time go back or wakes too early."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gitops.world.embedded.clock import EmbeddedClock\n"
        "clock, last = EmbeddedClock(Path(sys.argv[1])), 0.0\n"
        "for _ in range(40):\n"
        "    until = clock.now() + 60\n"
        "    clock.sleep(60)\n"
        "    assert clock.now() >= until - 0.01 and clock.now() >= last - 0.01\n"
        "    last = clock.now()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / FILE)]
    children = [subprocess.Popen(command, env={"PYTHONPATH": str(SOURCE)}) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    ahead = EmbeddedClock(tmp_path / FILE).now() - time.time()
    assert 40 * 60 - 1 <= ahead <= 3 * 40 * 60 + 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("broken", ["", "soon", "-5", "nan", "inf"])
def test_a_file_without_a_lead_is_named(tmp_path: Path, broken: str) -> None:
    (tmp_path / FILE).write_text(broken)
    with pytest.raises(GitopsError, match="clock cannot be read") as raised:
        EmbeddedClock(tmp_path / FILE).now()
    assert raised.value.where == str(tmp_path / FILE)
    assert "delete it" in raised.value.hint
