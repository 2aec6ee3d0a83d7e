"""Checks of what an environment says about delivery: who approves, when nothing moves, which clusters come first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from zoneinfo import available_timezones

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import Approvals, Environment, Freeze
from gitops.spec.freezes import instant, is_time, time_of_day, zone
from gitops.spec.problems import Path, listed, shorten, suggestion
from gitops.values import person_key

_Wrong = tuple[Path, str, str]


def environments(draft: Draft) -> Iterator[Finding]:
    """Everything in the table below, for every environment that is well-formed."""
    for name, environment in draft.environments.items():
        if name not in draft.damaged:
            for check in _ENVIRONMENT_CHECKS:
                for path, message, hint in check(environment):
                    yield Finding(path, message, hint, name)


# --- Approvals -----------------------------------------------------------------------------------------------


def _approvals(environment: Environment) -> Iterator[_Wrong]:
    if not (approvals := environment.approvals):
        return
    yield from _people(approvals)
    yield from _keys(approvals)


def _people(approvals: Approvals) -> Iterator[_Wrong]:
    top: Path = ("approvals",)
    people = approvals.approvers
    for index, other in _repeated(people):
        yield (*top, "approvers", index), _twice(people[index], other), "everybody counts once; remove one"
    signers = tuple(approvals.signers)
    for index, other in _repeated(signers):
        yield (*top, "signers", signers[index]), _twice(signers[index], other), "everybody counts once; remove one"
    if not people and approvals.identity == "signature":
        people = signers
    different = {person_key(person): person for person in reversed(people)}
    if people and approvals.required > len(different):
        message = f"{approvals.required} approvals can never be had from {listed(sorted(different.values()))}"
        yield (*top, "required"), message, "lower it, or name more people"


def _repeated(people: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Positions of people who were named before, with the spelling that came first."""
    first: dict[str, str] = {}
    for index, person in enumerate(people):
        if (key := person_key(person)) in first:
            yield index, first[key]
        else:
            first[key] = person


def _twice(person: str, other: str) -> str:
    return f"{person} is there twice" if person == other else f"{person} and {other} are the same person"


def _keys(approvals: Approvals) -> Iterator[_Wrong]:
    top: Path = ("approvals", "signers")
    first: dict[str, str] = {}
    for person, key in approvals.signers.items():
        blob = " ".join(key.split(" ")[:2])
        other = first.setdefault(blob, person)
        if not _is_key(key):
            yield (*top, person), "this is not a whole OpenSSH public key", "copy the line of the .pub file"
        elif other != person:
            hint = "everybody needs a key of their own, or one could approve for two"
            yield (*top, person), f"this is the key of {other} too", hint
    if approvals.identity != "signature":
        return
    known = set(map(person_key, approvals.signers))
    hint = "name <person>: <the line of their .pub file> under approvals.signers"
    if missing := [person for person in dict.fromkeys(approvals.approvers) if person_key(person) not in known]:
        verb = "has" if len(missing) == 1 else "have"
        yield ("approvals", "identity"), f"{listed(missing)} {verb} no key to sign approvals with", hint
    elif not approvals.signers:
        other = f"{hint}, or say `identity: ci` or `identity: any` (docs/rollouts.md has what those prove)"
        yield ("approvals", "identity"), "nobody has a key to sign approvals with", other


def _is_key(text: str) -> bool:
    """Whether the encoded key names the same type as the word before it (RFC 4253, section 6.6)."""
    kind, blob = text.split(" ")[:2]
    try:
        data = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return False
    head = len(kind).to_bytes(4, "big") + kind.encode()
    return data.startswith(head) and len(data) > len(head)


# --- Freezes -------------------------------------------------------------------------------------------------


def _freezes(environment: Environment) -> Iterator[_Wrong]:
    for index, freeze in enumerate(environment.freeze):
        for path, message, hint in _weekly(freeze) if freeze.days else _once(freeze):
            yield ("freeze", index, *path), message, hint


def _once(freeze: Freeze) -> Iterator[_Wrong]:
    sound = True
    for key, moment in (("from", freeze.begin), ("until", freeze.until)):
        if is_time(moment):
            sound = False
            hint = "add `days: [fri, …]`, or write an instant such as 2026-12-19T00:00:00Z"
            yield (key,), f"{moment} is a time of day, but no days are named", hint
        elif not _is_sound(instant, moment):
            sound = False
            yield (key,), f"there is no {moment}", "write it like 2026-12-19T00:00:00Z or 2026-12-19T00:00:00+01:00"
    if sound and instant(freeze.begin) >= instant(freeze.until):
        yield ("until",), f"{freeze.until} is not later than {freeze.begin}", "a freeze ends after it begins"
    if freeze.timezone:
        yield ("timezone",), "`timezone` means nothing for instants", "they say their own offset; remove it"


def _weekly(freeze: Freeze) -> Iterator[_Wrong]:
    for key, moment in (("from", freeze.begin), ("until", freeze.until)):
        if not is_time(moment):
            yield (
                (key,),
                f"{moment} is an instant, but `days` make this a weekly window",
                'write a time such as "16:00"',
            )
        elif not _is_sound(time_of_day, moment) or (key == "from" and moment == "24:00"):
            yield (key,), f"{moment} is not a time of day", 'write it like "16:00"; `until` may be "24:00"'
    for index, day in enumerate(freeze.days):
        if day in freeze.days[:index]:
            yield ("days", index), f"{day} is there twice", "remove one"
    if freeze.timezone and not _is_sound(zone, freeze.timezone):
        yield ("timezone",), *_unknown_timezone(freeze.timezone)


def _is_sound(reading: Callable[[str], object], text: str) -> bool:
    try:
        reading(text)
    except ValueError:
        return False
    return True


def _unknown_timezone(name: str) -> tuple[str, str]:
    known = available_timezones()
    if not known:
        hint = "install the system package tzdata, or: pip install tzdata"
        return f"{shorten(name)} cannot be looked up: this machine has no timezone database", hint
    near = suggestion(name, sorted(known)).partition("valid:")[0]
    return f"there is no timezone {shorten(name)}", f"{near}write an IANA name such as Europe/Berlin"


# --- Waves ---------------------------------------------------------------------------------------------------


def _waves(environment: Environment) -> Iterator[_Wrong]:
    if not environment.waves:
        return
    seen: set[str] = set()
    for number, wave in enumerate(environment.waves):
        for index, cluster in enumerate(wave):
            if cluster not in environment.clusters:
                message = f"there is no cluster {cluster} in this environment"
                yield ("waves", number, index), message, suggestion(cluster, environment.clusters, "cluster")
            elif cluster in seen:
                yield ("waves", number, index), f"{cluster} is there twice", "a rollout reaches a cluster once"
            seen.add(cluster)
    if missing := [cluster for cluster in environment.clusters if cluster not in seen]:
        verb = "is" if len(missing) == 1 else "are"
        yield ("waves",), f"{listed(missing)} {verb} in no wave", "add it to one; no rollout would reach it"


_ENVIRONMENT_CHECKS: tuple[Callable[[Environment], Iterator[_Wrong]], ...] = (_approvals, _freezes, _waves)
