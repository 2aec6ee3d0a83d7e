"""The commands of before a release: artifacts, builds, gates, and the CI workflow that runs them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gitops.cli.arguments import HERE, Embedded, Format, Project, Unit
from gitops.cli.console import guarded

app = typer.Typer()
ModelName = Annotated[str, typer.Argument(help="A model of pipeline.yaml.", metavar="MODEL")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print it.")]


def _end(code: int) -> None:
    raise typer.Exit(code)


@app.command()
def build(
    model: Annotated[str, typer.Argument(help="The model to build; all that have a `build` by default.")] = "",
    project: Project = HERE,
    job: Annotated[bool, typer.Option("--job", help="Print Kubernetes Jobs instead of building here.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Copy what was built to its output.uri.")] = False,
    register: Annotated[
        bool,
        typer.Option("--register", help="Also validate, publish, and record in Git, what the spec newly names."),
    ] = False,
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="With --register: URL where MODEL is served already, for its gates.")
    ] = "",
    embedded: Embedded = False,
    cache: Annotated[Path | None, typer.Option("--cache", help="Where finished stages are kept.")] = None,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Build models from their checkpoints; what is finished is not done again."""
    if register:
        from gitops.cli import commands

        _end(guarded(lambda: commands.register(project, embedded, model, endpoint)))
    from gitops.cli import build as recipe

    _end(
        guarded(lambda: recipe.build(project, model or None, job=job, publish=publish, cache=cache, form=format_.value))
    )


@app.command()
def check(
    unit: Unit,
    project: Project = HERE,
    endpoint: Annotated[str, typer.Option("--endpoint", help="URL where the version is served.")] = "",
    job: Annotated[bool, typer.Option("--job", help="Print the Kubernetes Job that asks them in the cluster.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Ask this gate alone; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Directory for the report.")] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", help="Figures to compare with.")] = None,
    save_baseline: Annotated[
        Path | None, typer.Option("--save-baseline", help="Keep this run's figures for later comparisons.")
    ] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="Percent that may be lost to it.")] = None,
    wait: Annotated[str, typer.Option("--wait", help="How long the endpoint may take to get ready.")] = "0s",
    format_: FormatOption = Format.TEXT,
) -> None:
    """Ask the gates that a model's `validate` declares."""
    from gitops.cli import check as recipe

    _end(
        guarded(
            lambda: recipe.check(
                project,
                unit,
                endpoint,
                job=job,
                only=only or (),
                output=output,
                baseline=baseline,
                save_baseline=save_baseline,
                tolerance=tolerance,
                wait=wait,
                form=format_.value,
            )
        )
    )


models = typer.Typer(no_args_is_help=True, help="Artifacts of models: list, show, add, sign, verify.")
app.add_typer(models, name="models")


@models.command("list")
def models_list(project: Project = HERE, format_: FormatOption = Format.TEXT) -> None:
    """Show every model, its version and its artifact."""
    from gitops.cli import models as recipe

    _end(guarded(lambda: recipe.list_models(project, format_.value)))


@models.command("show")
def models_show(model: ModelName, project: Project = HERE, format_: FormatOption = Format.TEXT) -> None:
    """Show all that is known of a model's artifact."""
    from gitops.cli import models as recipe

    _end(guarded(lambda: recipe.show(project, model, format_.value)))


@models.command("add")
def models_add(
    model: ModelName,
    version: Annotated[str, typer.Argument(help="The new version.", metavar="VERSION")],
    project: Project = HERE,
    uri: Annotated[str, typer.Option("--uri", help="Where its files are.")] = "",
    digest: Annotated[str, typer.Option("--digest", help="What they should be; checked.")] = "",
    artifact_format: Annotated[str, typer.Option("--artifact-format", help="Such as safetensors or onnx.")] = "",
    from_mlflow: Annotated[str, typer.Option("--from-mlflow", help="NAME, NAME/VERSION or NAME@ALIAS.")] = "",
    format_: FormatOption = Format.TEXT,
) -> None:
    """Put a new version into pipeline.yaml, with the digest of its files."""
    from gitops.cli import models as recipe

    wanted = recipe.Adding(model, version, uri, digest, artifact_format, from_mlflow)
    _end(guarded(lambda: recipe.add(project, wanted, format_.value)))


@models.command("verify")
def models_verify(
    model: Annotated[str, typer.Argument(help="The model; all by default.", metavar="[MODEL]")] = "",
    project: Project = HERE,
    key: Annotated[list[Path] | None, typer.Option("--key", help="Public key to trust; may be repeated.")] = None,
    identity: Annotated[str, typer.Option("--certificate-identity", help="Who signed with sigstore.")] = "",
    issuer: Annotated[str, typer.Option("--certificate-oidc-issuer", help="Who vouches for that identity.")] = "",
    format_: FormatOption = Format.TEXT,
) -> None:
    """Read artifacts from their places and compare digests, provenance and signatures."""
    from gitops.cli import models as recipe

    _end(guarded(lambda: recipe.verify(project, model, key or (), identity, issuer, format_.value)))


@models.command("sign")
def models_sign(
    model: Annotated[
        str, typer.Argument(help="The model; all versions that wait for a signature by default.", metavar="[MODEL]")
    ] = "",
    project: Project = HERE,
    key: Annotated[Path | None, typer.Option("--key", help="Private key; GITOPS_SIGNING_KEY by default.")] = None,
    embedded: Embedded = False,
) -> None:
    """Sign digests of versions, beside their artifacts."""
    from gitops.cli import signing as recipe

    _end(guarded(lambda: recipe.sign(project, model, key, embedded)))


class CiSystem(StrEnum):
    """Which CI system's file it is."""

    github = "github"
    gitlab = "gitlab"


@app.command()
def ci(
    system: Annotated[CiSystem, typer.Argument(help="Whose workflow to write.", metavar="github|gitlab")],
    project: Project = HERE,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it and write nothing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 2 where the file differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that gitops did not write.")] = False,
) -> None:
    """Write the CI workflow: plan on pull requests, apply on merge, reconcile on a schedule."""
    from gitops.cli import ci as recipe

    _end(guarded(lambda: recipe.ci(project, system.value, recipe.CiFlags(stdout, check, force))))
