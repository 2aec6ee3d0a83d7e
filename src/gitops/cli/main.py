"""The command line. Each command parses, calls `gitops.cli.commands`, and ends with its exit code.

Imports of anything heavy sit inside the commands, so that `gitops --help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gitops import __version__
from gitops.cli.arguments import HERE, Embedded, Format, Project, Unit
from gitops.cli.console import ERROR, guarded, note, write
from gitops.cli.preparing import app as preparing

app = typer.Typer(
    name="gitops",
    help="A declarative GitOps pipeline for AI models: edit pipeline.yaml, plan, apply, read the history in git log.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class PlanFormat(StrEnum):
    """How a plan is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


Offline = Annotated[bool, typer.Option("--offline", help="Look at Git only, not at clusters or infrastructure.")]
ReplaceNewer = Annotated[
    bool,
    typer.Option("--replace-newer", help="Also change units last changed from spec commits this checkout lacks."),
]
AllowDeletions = Annotated[bool, typer.Option("--allow-deletions", help="Let many or all models leave an environment.")]
AllowDestroy = Annotated[bool, typer.Option("--allow-destroy", help="Let Terraform destroy or replace resources.")]
ForceConflicts = Annotated[
    bool, typer.Option("--force-conflicts", help="Take back fields that another field manager claims.")
]
Adopt = Annotated[
    bool, typer.Option("--adopt", help="Take over objects that exist and do not belong to this pipeline.")
]


def _end(code: int) -> None:
    raise typer.Exit(code)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to write the example.", file_okay=False)] = HERE,
) -> None:
    """Write an example pipeline.yaml with environments/ to start from."""
    from gitops.cli import commands

    _end(guarded(lambda: commands.init(directory)))


@app.command()
def validate(project: Project = HERE) -> None:
    """Check pipeline.yaml and environments/, and print every problem at once."""
    from gitops.cli import commands

    _end(guarded(lambda: commands.validate(project)))


@app.command()
def schema(
    environment: Annotated[bool, typer.Option("--environment", help="The schema of files in environments/.")] = False,
    simulation: Annotated[bool, typer.Option("--simulation", help="The schema of simulation.yaml.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="The schema of `gitops plan --format json`.")] = False,
    status: Annotated[bool, typer.Option("--status", help="The schema of `gitops status --format json`.")] = False,
    pass_: Annotated[bool, typer.Option("--pass", help="The schema of `gitops reconcile --format json`.")] = False,
) -> None:
    """Print the JSON Schema of pipeline.yaml, for editors."""
    from gitops.cli import commands

    chosen = {"environment": environment, "simulation": simulation, "plan": plan, "status": status, "pass": pass_}
    _end(guarded(lambda: commands.schema(next((name for name, asked in chosen.items() if asked), "pipeline"))))


@app.command()
def render(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Directory to write the files to.")] = None,
    only: Annotated[str, typer.Option("--unit", help="ENVIRONMENT/MODEL to print; all by default.")] = "",
    project: Project = HERE,
) -> None:
    """Print or write the files that the GitOps repository would hold."""
    from gitops.cli import commands

    _end(guarded(lambda: commands.render(project, output, only)))


@app.command()
def plan(
    project: Project = HERE,
    format_: Annotated[PlanFormat, typer.Option("--format", help="How to print it.")] = PlanFormat.TEXT,
    out: Annotated[Path | None, typer.Option("--out", help="Also save it for `gitops apply FILE`.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show file diffs and every resource.")] = False,
    offline: Offline = False,
    embedded: Embedded = False,
    replace_newer: ReplaceNewer = False,
    allow_deletions: AllowDeletions = False,
    allow_destroy: AllowDestroy = False,
    force_conflicts: ForceConflicts = False,
    adopt: Adopt = False,
) -> None:
    """Show what would change. Exit code 0: nothing, 2: changes pending, 1: error."""
    from gitops.cli import commands

    flags = commands.Flags(embedded, offline, replace_newer, allow_deletions, allow_destroy, force_conflicts, adopt)
    _end(guarded(lambda: commands.plan(project, flags, format_.value, out, full)))


@app.command()
def apply(
    saved: Annotated[Path | None, typer.Argument(help="A plan saved by `gitops plan --out`.")] = None,
    project: Project = HERE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Walk every rollout to its end, through all environments.")
    ] = False,
    embedded: Embedded = False,
    replace_newer: ReplaceNewer = False,
    allow_deletions: AllowDeletions = False,
    allow_destroy: AllowDestroy = False,
    force_conflicts: ForceConflicts = False,
    adopt: Adopt = False,
) -> None:
    """Commit and push what changed, then bring infrastructure and clusters to it.

    Exit code 0: done, 1: something failed or was refused, 2: something was left alone, and the plan says why. With
    --wait, 0: everything arrived, 1: something was rolled back or failed, 2: something waits for people.
    """
    from gitops.cli import commands

    flags = commands.Flags(embedded, False, replace_newer, allow_deletions, allow_destroy, force_conflicts, adopt)
    _end(guarded(lambda: commands.apply(project, flags, saved, yes, wait)))


@app.command()
def diff(
    project: Project = HERE,
    format_: Annotated[PlanFormat, typer.Option("--format", help="How to print it.")] = PlanFormat.TEXT,
    embedded: Embedded = False,
) -> None:
    """Compare live systems with what Git says now, whatever the spec says. Exit code 0: equal, 2: drift."""
    from gitops.cli import commands

    _end(guarded(lambda: commands.diff(project, embedded, format_.value)))


@app.command()
def status(
    project: Project = HERE,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
    offline: Offline = False,
    embedded: Embedded = False,
) -> None:
    """Show which version runs where."""
    from gitops.cli import commands

    _end(guarded(lambda: commands.status(project, embedded, offline, format_.value)))


@app.command()
def history(
    unit: Annotated[str, typer.Argument(help="ENVIRONMENT/MODEL, MODEL or ENVIRONMENT/; everything by default.")] = "",
    project: Project = HERE,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many entries; 0 for all.", min=0)] = 0,
    full: Annotated[bool, typer.Option("--full", help="Also show everything that each commit says.")] = False,
    embedded: Embedded = False,
) -> None:
    """Show what was released, when, by whom, from the GitOps repository's log."""
    from gitops.cli import history as command

    _end(guarded(lambda: command.history(project, unit, embedded, format_.value, limit, full)))


@app.command()
def reconcile(
    project: Project = HERE,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
    embedded: Embedded = False,
) -> None:
    """Make one pass over all rollouts: look, decide, commit, bring clusters to it. For a CI schedule."""
    from gitops.cli import rollout

    _end(guarded(lambda: rollout.reconcile(project, embedded, format_.value)))


@app.command()
def run(
    project: Project = HERE,
    interval: Annotated[float, typer.Option("--interval", help="Seconds between passes.", min=0.1)] = 15.0,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT for /metrics; nothing by default.")] = "",
    lease: Annotated[
        str, typer.Option("--lease", help="Cluster that keeps the leader's lease.", metavar="CLUSTER")
    ] = "",
    identity: Annotated[
        str, typer.Option("--identity", help="Holder of the lease; one that restarts under its name leads at once.")
    ] = "",
    embedded: Embedded = False,
) -> None:
    """Reconcile until stopped (SIGTERM ends after the pass under way). Of several, one leads by a Lease."""
    from gitops.cli import rollout

    _end(guarded(lambda: rollout.run(project, embedded, interval, listen, lease, identity)))


@app.command()
def rbac(
    cluster: Annotated[str, typer.Argument(help="Cluster of the spec.", metavar="CLUSTER")],
    account: Annotated[
        str, typer.Option("--account", help="Service account of `gitops run`.", metavar="NAMESPACE/NAME")
    ] = "gitops/gitops",
    project: Project = HERE,
) -> None:
    """Print what `gitops run` needs to be allowed on a cluster: the least, for `kubectl apply -f -`."""
    from gitops.cli.rbac import rbac as printed

    _end(guarded(lambda: printed(project, cluster, account)))


def _act(project: Path, embedded: bool, kind: str, unit: str, version: str = "", hotfix: bool = False) -> None:
    from gitops.cli import rollout

    asked = rollout.Asked(kind, unit, version, hotfix)  # type: ignore[arg-type]
    _end(guarded(lambda: rollout.act(project, embedded, asked)))


@app.command()
def pause(unit: Unit, project: Project = HERE, embedded: Embedded = False) -> None:
    """Stop a rollout at its present weight, until somebody resumes it."""
    _act(project, embedded, "pause", unit)


@app.command()
def resume(unit: Unit, project: Project = HERE, embedded: Embedded = False) -> None:
    """Go on with a paused rollout; what its gates warn of now is accepted at this weight."""
    _act(project, embedded, "resume", unit)


@app.command()
def approve(unit: Unit, project: Project = HERE, embedded: Embedded = False) -> None:
    """Consent to the version that waits to start there."""
    _act(project, embedded, "approve", unit)


@app.command()
def promote(
    unit: Unit,
    project: Project = HERE,
    hotfix: Annotated[
        bool, typer.Option("--hotfix", help="Start it although no environment before verified it.")
    ] = False,
    embedded: Embedded = False,
) -> None:
    """Skip the steps that are left; or start what waits for a person."""
    _act(project, embedded, "promote", unit, hotfix=hotfix)


@app.command()
def rollback(
    unit: Unit,
    project: Project = HERE,
    to: Annotated[str, typer.Option("--to", help="The version to go back to; by default the one before.")] = "",
    embedded: Embedded = False,
) -> None:
    """Send all traffic back, at once, to a version that is still warm."""
    _act(project, embedded, "rollback", unit, version=to)


@app.command()
def abort(unit: Unit, project: Project = HERE, embedded: Embedded = False) -> None:
    """End a rollout: all traffic to stable, the version is rejected."""
    _act(project, embedded, "abort", unit)


@app.command()
def retry(unit: Unit, project: Project = HERE, embedded: Embedded = False) -> None:
    """Let a rejected version try again."""
    _act(project, embedded, "retry", unit)


@app.command()
def simulate(
    unit: Annotated[str, typer.Argument(help="ENVIRONMENT/MODEL whose policy is tried.", metavar="UNIT")],
    project: Project = HERE,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help="What is wrong with the new version: latency=1.3x,from=5m or errors=2% or leak=gpu-memory:5%/h or "
            "outage=metrics,from=10m,until=25m. May be given several times; what simulation.yaml declares is added.",
        ),
    ] = None,
    requests_per_second: Annotated[
        float | None, typer.Option("--requests-per-second", help="What clients ask, of both versions.", min=0)
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="So many rollouts, each with other luck.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option("--seed", help="The luck of the first one.", min=0)] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Play back a recording (JSON) instead.")] = None,
    prometheus: Annotated[str, typer.Option("--prometheus", help="URL to play back from instead.")] = "",
    begin: Annotated[str, typer.Option("--from", help="With --prometheus: such as 2026-03-01T12:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--to", help="With --prometheus: the end.")] = "",
    stable: Annotated[str, typer.Option("--stable", help="Version that runs.")] = "",
    candidate: Annotated[str, typer.Option("--candidate", help="Version to roll out; the spec's by default.")] = "",
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
) -> None:
    """Play a rollout on simulated or recorded traffic, in no time and without touching anything."""
    from gitops.cli import simulate as command

    wanted = command.Wanted(
        unit=unit,
        faults=tuple(fault or ()),
        requests_per_second=requests_per_second,
        repeat=repeat,
        seed=seed,
        data=data,
        prometheus=prometheus,
        begin=begin,
        end=end,
        stable=stable,
        candidate=candidate,
        form=format_.value,
    )
    _end(guarded(lambda: command.run(project, wanted)))


@app.command()
def demo(
    directory: Annotated[Path | None, typer.Argument(help="Where to play; a temporary directory by default.")] = None,
) -> None:
    """Run the main job on the embedded world, from an empty directory to the audit."""
    from gitops.cli import demo as command

    _end(guarded(lambda: command.demo(directory)))


@app.command()
def version() -> None:
    """Print the version."""
    write(__version__)


app.add_typer(preparing)


def main() -> None:
    """Parse, run, and end the process with the command's exit code."""
    # A CI job that is cancelled gets SIGTERM: it ends in the same orderly way as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except SystemExit as end:
        # Typer ends without a word when Ctrl-C comes before the command has begun.
        if end.__context__ and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            note("interrupted")
        raise
    except RecursionError:
        note("error: nested too deeply")
        sys.exit(ERROR)
