"""The commands that walk rollouts, and those by which people take part: each is a commit like every other step."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gitops.cli.console import ERROR, OK, PENDING, colored, note, progress, restore, write
from gitops.errors import GitopsError

if TYPE_CHECKING:
    from gitops.engine.reconciling import Pass
    from gitops.engine.session import Options, Session
    from gitops.engine.walking import Walked
    from gitops.rollout.observation import CommandKind
    from gitops.values import UnitKey


class Asked(NamedTuple):
    """What a person asks for on the command line."""

    kind: CommandKind
    unit: str
    version: str = ""
    hotfix: bool = False


def reconcile(project: Path, embedded: bool, form: str) -> int:
    """One pass over every rollout."""
    from gitops.engine.reconciling import reconcile as one_pass
    from gitops.engine.session import open_anyway
    from gitops.view.passes import pass_document, pass_text

    # A pass is short-lived and reads much: collecting cycles in between only costs time.
    gc.disable()
    with open_anyway(_options(project, embedded)) as session:
        tell(session)
        done = one_pass(session)
    if form == "json":
        write(orjson.dumps(pass_document(done), option=orjson.OPT_INDENT_2).decode())
    else:
        text = pass_text(done, holds=True, color=colored(sys.stdout.isatty()))
        write(text or "No rollout is under way.")
    return ERROR if done.failures or done.blind or done.damaged or session.broken else OK


def act(project: Path, embedded: bool, asked: Asked) -> int:
    """Do what a person asks for, and say what came of it."""
    from gitops.engine.identity import person
    from gitops.engine.reconciling import BACK, command
    from gitops.engine.session import open_anyway, open_session
    from gitops.rollout.observation import Command
    from gitops.view.passes import pass_text

    unit, opened = unit_of(asked.unit), open_anyway if asked.kind in BACK else open_session
    with opened(_options(project, embedded)) as session:
        tell(session)
        who = person(session)
        done = command(session, unit, Command(asked.kind, who, asked.version, asked.hotfix))
    decision = done.decisions.get(unit)
    if decision is None or decision.refused:
        reason = decision.refused if decision else done.left_alone.get(unit, "nothing was decided")
        what, _, hint = reason.partition(" — ")
        hint = hint or f"see gitops history {unit}"
        raise GitopsError(f"{asked.kind} was not done: {what}", where=str(unit), hint=hint)
    if unit not in done.standings:
        write(f"{unit}: {decision.sentence}; gitops apply releases it once enough people have approved.")
        return OK
    write(pass_text(done, holds=False, color=colored(sys.stdout.isatty())))
    for failure in done.failures:
        note(f"error: {failure.cluster}: {failure.unit}: {failure.message}")
    if done.failures:
        note("  next: Git holds the decision; gitops reconcile brings the clusters to it")
    return ERROR if done.failures else OK


def run(project: Path, embedded: bool, interval: float, listen: str, lease: str, identity: str) -> int:
    """Reconcile until it is told to stop; of several only the leader does."""
    from gitops.engine.running import Settings, keep_running

    stop = Stop()
    options = _options(project, embedded, stop.asked)
    holder = identity or f"{socket.gethostname()}-{os.getpid()}"

    with stop:
        keep_running(options, Settings(interval, listen, lease, holder), stop.asked, watcher())
    restore()
    note("stopped; what was pushed stays, and the next run goes on from there")
    return OK


def tell(session: Session) -> None:
    """Say loudly that another spec stands in for a broken one."""
    if session.broken:
        from gitops.engine.session import told

        note(told(session.broken))


class Stop:
    """Turns the first SIGTERM or SIGINT into a wish to stop after the pass under way; the second one stops at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, object] = {}

    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._take)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: object) -> None:
        del number, frame
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


def ended(walked: Walked) -> int:
    """Say how a walk ended, one line for each unit that did not arrive."""
    from gitops.view.passes import outcome

    restore()
    for line in outcome(walked.rejected, walked.waiting):
        note(line)
    if walked.rejected:
        return ERROR
    if walked.waiting:
        return PENDING
    write("Every release runs what the spec names.")
    return OK


def watcher() -> Callable[[Pass], None]:
    """What shows passes while somebody waits: a live view on a terminal (until `restore`), else one line an event."""
    from gitops.cli.live import reporter

    return reporter()


def unit_of(text: str) -> UnitKey:
    """`ENVIRONMENT/MODEL`. Raises GitopsError for anything else."""
    from gitops.values import UnitKey

    environment, slash, model = text.partition("/")
    if not (environment and slash and model) or "/" in model:
        raise GitopsError(f"{text!r} names no release", hint="write ENVIRONMENT/MODEL, such as production/support-chat")
    return UnitKey(environment, model)


def _options(project: Path, embedded: bool, stopped: Callable[[], bool] | None = None) -> Options:
    from gitops.engine.session import Options
    from gitops.world.places import wants_embedded

    kind = "embedded" if wants_embedded(embedded) else "real"
    return Options(project, kind, acts=True, progress=progress, stopped=stopped or (lambda: False))  # type: ignore[arg-type]
