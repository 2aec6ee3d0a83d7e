"""What a rollout's commit says: in words first, then in trailers that Git and `rollout.history` read back.

Trailers of every commit: `Rollout`, `Decision`, `Release: <environment>/<model> <version> [<previous>] [<digest>]` for
each released unit, `Removed: <environment>/<model>` for each removed one, `Infrastructure: <cluster>` for each cluster
whose Terraform files changed, and `Spec-Commit`. A commit about one unit also has `Model`, `Environment`, `Version`,
`Previous-Version` and `Weight`, for people and for `git log --grep`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitops.rollout.release import SpecSource
from gitops.values import ACTING, UnitKey, version_in_words

_SUBJECT_WIDTH = 72
_MODIFIED = " (modified)"


@dataclass(frozen=True, slots=True)
class Released:
    """A unit that got a release. `previous` is empty for its first, and equals `version` when only the rest changed.

    `digest` is the artifact's.
    """

    unit: UnitKey
    version: str
    previous: str
    digest: str = ""

    @property
    def decision(self) -> str:
        """`update` for a change of configuration, else `release`."""
        return "update" if self.version == self.previous else "release"


def commit_message(
    released: Sequence[Released],
    removed: Sequence[UnitKey],
    infrastructure: Sequence[str],
    rollout_id: str,
    source: SpecSource,
    notes: Sequence[str] = (),
    time: str = "",
) -> str:
    """The whole message, ending in a newline. `infrastructure` names clusters; `notes` are sentences for the reader;
    `time` is RFC 3339.

    Whatever the arguments contain, only the trailers written here are trailers: every text becomes one line, and
    the trailers are the last paragraph.
    """
    body = _body(released, removed, infrastructure)
    paragraphs = [
        _subject(released, removed, infrastructure),
        *body,
        "\n".join(sentence(note) for note in notes if line_of(note)),
        "\n".join(_trailers(released, removed, infrastructure, rollout_id, source, time)),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


# --- Subject -------------------------------------------------------------------------------------------------


def _subject(released: Sequence[Released], removed: Sequence[UnitKey], infrastructure: Sequence[str]) -> str:
    if len(released) == 1 and not removed:
        (one,) = released
        what = f"{named(one.version)} reconfigured" if one.decision == "update" else named(one.version)
        return f"release({unit_word(one.unit)}): {what}"
    if len(removed) == 1 and not released:
        return f"release({unit_word(removed[0])}): removed"
    if released or removed:
        return _one_model(released, removed) or f"release: {_units_in_words(released, removed)}"
    if len(infrastructure) == 1:
        return f"infrastructure({word(infrastructure[0])}): update"
    if infrastructure:
        whole = f"infrastructure: {_listed([word(name) for name in infrastructure])}"
        return whole if len(whole) <= _SUBJECT_WIDTH else f"infrastructure: {len(infrastructure)} clusters"
    return "gitops: shared files"


def _one_model(released: Sequence[Released], removed: Sequence[UnitKey]) -> str:
    """The subject when the same happened to one model in several environments; empty otherwise."""
    models = {unit.model for unit in (*(one.unit for one in released), *removed)}
    happened = {"reconfigured" if one.decision == "update" else named(one.version) for one in released}
    happened |= {"removed" for _ in removed}
    if len(models) > 1 or len(happened) > 1:
        return ""
    environments = _environments(released, removed)
    start = f"release({word(*models)}): {happened.pop()} in "
    whole = start + _listed([word(name) for name in environments])
    return whole if len(whole) <= _SUBJECT_WIDTH else f"{start}{len(environments)} environments"


def _units_in_words(released: Sequence[Released], removed: Sequence[UnitKey]) -> str:
    counts = []
    if released:
        counts.append(_counted(len(released), "unit"))
    if removed:
        counts.append(f"{len(removed)} removed")
    environments = dict.fromkeys(unit.environment for unit in (*(one.unit for one in released), *removed))
    counted = ", ".join(counts)
    whole = f"{counted} in {_listed([word(name) for name in environments])}"
    fits = len("release: ") + len(whole) <= _SUBJECT_WIDTH
    return whole if fits else f"{counted} in {len(environments)} environments"


# --- Body ----------------------------------------------------------------------------------------------------


def _body(released: Sequence[Released], removed: Sequence[UnitKey], infrastructure: Sequence[str]) -> list[str]:
    if len(released) + len(removed) == 1:
        paragraphs = [_what_happened(one) for one in released] + ["No longer in the pipeline." for _ in removed]
    else:
        paragraphs = [_section(environment, released, removed) for environment in _environments(released, removed)]
    if infrastructure and (released or removed or len(infrastructure) > 1):
        paragraphs.append(f"Infrastructure: {', '.join(word(name) for name in infrastructure)}.")
    return paragraphs


def _what_happened(one: Released) -> str:
    version, previous = named(one.version), named(one.previous)
    if not previous:
        return f"First release: {version}, at once."
    if version == previous:
        return f"Configuration of {version} changed."
    return f"{previous} to {version}, at once."


def _environments(released: Sequence[Released], removed: Sequence[UnitKey]) -> list[str]:
    return list(dict.fromkeys(unit.environment for unit in (*(one.unit for one in released), *removed)))


def _section(environment: str, released: Sequence[Released], removed: Sequence[UnitKey]) -> str:
    lines = [word(environment)]
    mine = [one for one in released if one.unit.environment == environment]
    gone = [unit.model for unit in removed if unit.environment == environment]
    width = max(len(word(model)) for model in [*(one.unit.model for one in mine), *gone])
    lines += [f"  {word(one.unit.model):{width}}  {_in_short(one)}" for one in mine]
    lines += [f"  {word(model):{width}}  removed" for model in gone]
    return "\n".join(lines)


def _in_short(one: Released) -> str:
    version, previous = named(one.version), named(one.previous)
    if not previous:
        return f"{version} (first release)"
    if version == previous:
        return f"{version} (configuration)"
    return f"{previous} to {version}"


# --- Trailers ------------------------------------------------------------------------------------------------


def _trailers(
    released: Sequence[Released],
    removed: Sequence[UnitKey],
    infrastructure: Sequence[str],
    rollout_id: str,
    source: SpecSource,
    time: str,
) -> Iterable[str]:
    yield f"Rollout: {word(rollout_id)}"
    if len(released) + len(removed) == 1:
        yield from _unit_trailers(released, removed)
    yield f"Decision: {_decision(released, removed)}"
    for one in released:
        rest = "".join(f" {word(text)}" for text in (one.previous, one.digest) if text)
        yield f"Release: {unit_word(one.unit)} {word(one.version)}{rest}"
    for unit in removed:
        yield f"Removed: {unit_word(unit)}"
    for cluster in infrastructure:
        yield f"Infrastructure: {word(cluster)}"
    if time:
        yield f"Time: {word(time)}"
    yield from source_trailer(source)


def source_trailer(source: SpecSource) -> Iterable[str]:
    """`Spec-Commit`, when the spec is kept in Git."""
    if source.commit:
        yield f"Spec-Commit: {word(source.commit)}{_MODIFIED if source.modified else ''}"


def _unit_trailers(released: Sequence[Released], removed: Sequence[UnitKey]) -> Iterable[str]:
    unit = released[0].unit if released else removed[0]
    yield f"Model: {word(unit.model)}"
    yield f"Environment: {word(unit.environment)}"
    for one in released:
        yield f"Version: {word(one.version)}"
        if one.previous:
            yield f"Previous-Version: {word(one.previous)}"
        yield "Weight: 100"


def _decision(released: Sequence[Released], removed: Sequence[UnitKey]) -> str:
    if any(one.decision == "release" for one in released):
        return "release"
    return "remove" if removed and not released else "update"


# --- Words ---------------------------------------------------------------------------------------------------


def line_of(text: str) -> str:
    """The text on one line, without control characters."""
    return " ".join(re.sub(rf"[\x00-\x1f\x7f-\x9f{ACTING}]", " ", text).split())


def word(text: str) -> str:
    """The text without spaces, as a trailer's word."""
    return line_of(text).replace(" ", "-")


def named(version: str) -> str:
    """A version or one of its revisions, for a sentence."""
    return version_in_words(word(version))


def sentence(note: str) -> str:
    """A line of the body that Git takes for nothing else."""
    line = line_of(note)
    # Git would take such a line for a comment, or for the start of a patch that ends the message.
    return f" {line}" if line.startswith(("---", "#")) else line


def unit_word(unit: UnitKey) -> str:
    """`environment/model`."""
    return f"{word(unit.environment)}/{word(unit.model)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
