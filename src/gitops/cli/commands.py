"""What the commands do: call the engine, choose a view, and give the exit code."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gitops.cli.console import ERROR, OK, PENDING, colored, note, progress, write
from gitops.cli.project import load
from gitops.errors import GitopsError, Refused

if TYPE_CHECKING:
    from gitops.engine.applying import Applied
    from gitops.engine.session import Options
    from gitops.plan.model import Plan


class Flags(NamedTuple):
    """The options that planning and applying share."""

    embedded: bool = False
    offline: bool = False
    replace_newer: bool = False
    allow_deletions: bool = False
    allow_destroy: bool = False
    force_conflicts: bool = False
    adopt: bool = False


def init(directory: Path) -> int:
    """Write the example; refuse to overwrite anything."""
    from gitops.world.files import example_files, write_atomically

    files = example_files()
    for path in files:
        if (directory / path).exists():
            raise GitopsError("already there", where=str(directory / path), hint="choose an empty directory")
    for path, data in files.items():
        write_atomically(directory / path, data)
        write(f"wrote {directory / path}")
    here = "" if directory.resolve() == Path.cwd() else f" -C {directory}"
    write(f"Try it without any cluster: gitops plan --embedded{here}, then gitops apply --embedded{here}")
    return OK


def validate(project: Path) -> int:
    """Load the spec; SpecError prints every problem."""
    from gitops.render.images import unpinned
    from gitops.spec.autoscaling import unscaled

    spec = load(project)
    units = f"{len(spec.models)} releases in {len(spec.environments)} environments on {len(spec.clusters)} clusters"
    write(f"{spec.pipeline.name}: valid ({len(spec.pipeline.models)} models, {units})")
    for sentence in (*unscaled(spec.models, spec.environments), *unpinned(spec)):
        note(sentence)
    return OK


def schema(which: str) -> int:
    """Print one of the JSON Schemas."""
    from gitops.spec.schema import environment_schema, pipeline_schema, simulation_schema
    from gitops.view.schema import schema_of

    documents: dict[str, Callable[[], dict[str, Any]]] = {
        "pipeline": pipeline_schema,
        "environment": environment_schema,
        "simulation": simulation_schema,
        "plan": partial(schema_of, "plan"),
        "status": partial(schema_of, "status"),
        "pass": partial(schema_of, "pass"),
    }
    document = documents[which]()
    write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    return OK


def render(project: Path, output: Path | None, only: str) -> int:
    """Print the files, or write them below a directory."""
    from gitops.engine.planning import rendered
    from gitops.engine.session import Options, open_session

    files = rendered(open_session(Options(project)), only)
    if output is None:
        for path, content in files.items():
            text = content.decode()
            write(f"--- # {path}\n{text}" if path.endswith(".yaml") else f"# --- {path}\n{text}")
        return OK
    from gitops.world.files import write_atomically

    for path, content in files.items():
        write_atomically(output / path, content)
    write(f"wrote {len(files)} files below {output}")
    return OK


def plan(project: Path, flags: Flags, form: str, out: Path | None, full: bool) -> int:
    """Compute a plan, print it, and save it where asked."""
    from gitops.engine import planning
    from gitops.engine.session import open_session

    # A plan is short-lived and builds much: collecting cycles in between only costs time.
    gc.disable()
    with open_session(_options(project, flags)) as session:
        found = planning.plan(session)
    if out is not None:
        from gitops.plan.saved import dump_plan
        from gitops.world.files import write_atomically

        # It holds tfplans, and those may hold what Terraform calls sensitive.
        write_atomically(out, dump_plan(found), mode=0o600)
    _print_plan(found, form, full)
    if out is not None:
        note(f"saved to {out}; apply exactly this with: gitops apply {out}")
    return _unreached(found) or (PENDING if found.pending else OK)


def apply(project: Path, flags: Flags, saved: Path | None, yes: bool, wait: bool = False) -> int:
    """Show a plan, ask, and do it; with `wait`, walk every rollout to its end."""
    from gitops.cli import rollout
    from gitops.engine import applying, planning, walking
    from gitops.engine.session import open_session

    if saved is None:
        _register(project, flags, yes)
    with open_session(replace(_options(project, flags), acts=True)) as session:
        if saved is None:
            # What could be registered is so by now.
            wanted = replace(planning.plan(session), registrations=())
        else:
            wanted = applying.made_again(session, _load(saved))
        _print_plan(wanted, "text", False)
        _refuse(wanted)
        if wanted.pending:
            if not yes:
                _confirm()
            done = applying.apply(session, wanted, saved=saved is not None)
            code, wanted = _report(done, wait), done.plan
            if code != OK:
                return code
        code = rollout.ended(walking.walk(session, rollout.watcher())) if wait else OK
        return code or _left(wanted) or (PENDING if session.registered.withheld else OK)


def register(project: Path, embedded: bool, model: str = "", endpoint: str = "") -> int:
    """Build, validate and verify what the spec newly names, and record it; nothing is released.

    With `model` only that one, whose gates ask `endpoint` where one is named. PENDING where a version is released
    nowhere because nobody who is trusted has signed it.
    """
    if endpoint and not model:
        raise GitopsError("an endpoint serves one model", where="--endpoint", hint="name it: gitops build MODEL")
    if not _register(project, Flags(embedded=embedded), yes=True, model=model, endpoint=endpoint):
        write(f"Every version {'of ' + model if model else 'of the spec'} is registered, or needs no registration.")
        return OK
    from gitops.engine.session import open_session

    with open_session(_options(project, Flags(embedded=embedded))) as session:
        return PENDING if session.registered.withheld else OK


def _register(project: Path, flags: Flags, yes: bool, model: str = "", endpoint: str = "") -> bool:
    """Build, validate and verify before the plan: what it releases is known only then. Whether there was any."""
    from gitops.engine import registering
    from gitops.engine.session import open_session
    from gitops.plan.registered import VersionKey, has_to_register
    from gitops.spec.problems import suggestion

    with open_session(_options(project, flags)) as session:
        if model and model not in session.spec.pipeline.models:
            hint = suggestion(model, session.spec.pipeline.models, "model")
            raise GitopsError("there is no such model in the spec", where=model, hint=hint)
        missing = {key: one for key, one in session.registered.missing.items() if model in ("", key.model)}
        if not missing:
            return False
        write("Before any release:")
        for key in missing:
            write(f"  {key.model} {key.version}: {'; '.join(session.registered.work(key))}")
        known = session.registered.known
        if not yes and any(has_to_register(one) for key, one in missing.items() if key not in known):
            _confirm("Do you want to build and validate this?")
        for one in registering.register(session, model, endpoint):
            new = VersionKey(one.model, one.version) not in known
            write(f"{'Registered' if new else 'Verified'} {one.model} {one.version}: {one.digest}")
            for line in one.gates if new else ():
                write(f"  {line}")
        return True


def diff(project: Path, embedded: bool, form: str) -> int:
    """Compare live objects with the repository's head."""
    from gitops.cli.rollout import tell
    from gitops.engine import planning
    from gitops.engine.session import open_anyway

    with open_anyway(_options(project, Flags(embedded=embedded))) as session:
        tell(session)
        found = planning.diff(session)
    if form == "text" and not found.pending and not found.unreachable:
        wanted = f"commit {found.base.head[:10]}" if found.base.head else "the empty repository"
        write(f"No drift: live objects are what {wanted} says.")
    else:
        _print_plan(found, form, True)
    return _unreached(found) or (PENDING if found.pending else OK)


def status(project: Path, embedded: bool, offline: bool, form: str) -> int:
    """Print the board."""
    from gitops.cli.rollout import tell
    from gitops.engine import status as recipe
    from gitops.engine.session import open_anyway
    from gitops.view.board import board, board_document

    with open_anyway(_options(project, Flags(embedded=embedded, offline=offline))) as session:
        tell(session)
        rows = recipe.status(session)
    if form == "json":
        write(orjson.dumps(board_document(rows), option=orjson.OPT_INDENT_2).decode())
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        write(board(rows, color=colored(terminal), width=width))
    return OK


def _options(project: Path, flags: Flags) -> Options:
    from gitops.engine.session import Options
    from gitops.plan.refusals import Allowances
    from gitops.world.places import wants_embedded

    return Options(
        project=project,
        kind="embedded" if wants_embedded(flags.embedded) else "real",
        offline=flags.offline,
        replace_newer=flags.replace_newer,
        allowed=Allowances(flags.allow_deletions, flags.allow_destroy, flags.force_conflicts, flags.adopt),
        progress=progress,
    )


def _load(path: Path) -> Plan:
    from gitops.plan.saved import load_plan
    from gitops.world.files import read_saved_plan

    return load_plan(read_saved_plan(path), str(path))


def _print_plan(found: Plan, form: str, full: bool) -> None:
    if form == "json":
        from gitops.view.plan_json import plan_json

        write(plan_json(found).decode())
    elif form == "markdown":
        from gitops.view.plan_markdown import plan_markdown

        write(plan_markdown(found))
    else:
        from gitops.view.plan_text import plan_text

        width = max(shutil.get_terminal_size((100, 24)).columns, 60)
        write(plan_text(found, width=width, color=colored(sys.stdout.isatty()), diffs=full, full=full))


def _refuse(wanted: Plan) -> None:
    if wanted.stopped:
        rules = "1 rule" if len(wanted.stopped) == 1 else f"{len(wanted.stopped)} rules"
        raise Refused(f"refused by {rules}, see above; nothing was done", hint=_overruling(wanted))


def _overruling(wanted: Plan) -> str:
    flags = " ".join(dict.fromkeys(refusal.flag for refusal in wanted.refusals if refusal.flag))
    return f"if all of that is meant: gitops apply {flags}" if flags else "correct the spec, and apply again"


def _confirm(question: str = "Do you want to apply this?") -> None:
    if not sys.stdin.isatty():
        raise GitopsError("there is no terminal to ask on", hint="look at the plan, then run it with --yes")
    sys.stdout.write(f"\n{question} Only `yes` is accepted: ")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != "yes":
        raise GitopsError("not applied; nothing was done")


def _left(wanted: Plan) -> int:
    """Name what was asked for and not done; the exit code says it too, so that CI is not green without a deployment."""
    for item in wanted.left_alone:
        note(f"left alone: {item.unit}: {item.reason}")
    if wanted.refusals:
        note(f"  next: {_overruling(wanted)}")
    return _unreached(wanted) or (ERROR if wanted.refusals else PENDING if wanted.left_alone else OK)


def _unreached(found: Plan) -> int:
    """Name the clusters that could not be looked at; the rest is done or shown all the same."""
    for item in found.unreachable:
        note(f"error: {item.unit} was not reached: {item.reason}")
    return ERROR if found.unreachable else OK


def _report(done: Applied, wait: bool) -> int:
    """Say what happened in one line, and what did not in one line each."""
    if done.failures:
        for failure in done.failures:
            note(f"error: {failure.cluster}: {failure.unit}: {failure.message}")
        note(f"  next: Git holds {done.commit[:10] or 'what is wanted'}; mend the cause and run the same apply again")
        return ERROR
    parts = [f"{done.objects} objects"] if done.objects else []
    resources = sum(1 for _ in done.plan.resources())
    parts += [f"{resources} infrastructure changes"] if resources else []
    commit = f"commit {done.commit[:10]}" if done.plan.files else ""
    write("Applied: " + (", ".join(part for part in (commit, *parts) if part) or "nothing was left to do") + ".")
    started = [change.unit for change in done.plan.releases if change.decision == "start"]
    if started and not wait:
        names = ", ".join(map(str, started[:3])) + (", …" if len(started) > 3 else "")
        write(f"Rollouts started: {names}. `gitops apply --wait`, `gitops reconcile` or `gitops run` walks them on.")
    return OK
