"""What the commit of one step of a rollout says: in words first, then in trailers that `rollout.replay` reads back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops.rollout.events import Event, one_line
from gitops.rollout.message import line_of, named, sentence, source_trailer, unit_word, word
from gitops.rollout.release import SpecSource
from gitops.rollout.replay import trailers_of
from gitops.values import UnitKey

_SAID_BY_SUBJECT = ("advance", "scale", "promote")


def step_message(
    unit: UnitKey, event: Event, evidence: Sequence[str], rollout_id: str, source: SpecSource, notes: Sequence[str] = ()
) -> str:
    """The whole message, ending in a newline. `evidence` and `notes` are sentences for the reader, a line each.

    All commits of one rollout share `rollout_id`. Whatever the texts contain, only the trailers written here are
    trailers.
    """
    said = [*([] if event.kind in _SAID_BY_SUBJECT else [event.reason]), *evidence, *notes]
    paragraphs = [
        f"rollout({unit_word(unit)}): {_subject(event)}",
        "\n".join(sentence(line) for line in dict.fromkeys(said) if one_line(line)),
        "\n".join(_trailers(unit, event, rollout_id, source)),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _trailers(unit: UnitKey, event: Event, rollout_id: str, source: SpecSource) -> Iterator[str]:
    yield f"Rollout: {word(rollout_id)}"
    yield f"Model: {word(unit.model)}"
    yield f"Environment: {word(unit.environment)}"
    yield from (f"{key}: {one_line(value)}" for key, value in trailers_of(event))
    yield from source_trailer(source)


def _subject(event: Event) -> str:
    version, previous = named(event.version.version), named(event.previous)
    match event.kind:
        case "start":
            waits = ", waits for room" if event.stage == "waiting-for-capacity" else ""
            hotfix = " as a hotfix" if event.hotfix else ""
            return f"start {version} beside {previous or 'nothing'}{hotfix}{waits}"
        case "advance":
            mirrored = f"{event.mirror} % mirrored" if event.mirror else f"{event.weight} %"
            return f"{version} to {mirrored}{f' in wave {event.wave + 1}' if event.wave else ''}"
        case "scale":
            return f"{version} has to {line_of(event.reason)}"
        case "wait":
            return f"{version} waits for room"
        case "pause":
            return f"pause {version} at {event.mirror or event.weight} %"
        case "resume":
            return f"resume {version} at {event.mirror or event.weight} %"
        case "size":
            return f"size {version} and what runs beside it for the load"
        case "promote":
            return f"{version} replaces {previous or 'nothing'}"
        case "roll-back":
            return f"roll back {version} to {previous or 'nothing'}"
        case "retire":
            return f"remove {version}"
        case "retry":
            return f"{version} may be tried again"
        case "approve":
            return f"{word(event.by)} approves {version}"
        case "clear":
            return f"the spec names {version} now"
