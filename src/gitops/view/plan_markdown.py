"""The plan as a comment on a pull request: what matters first, details collapsed, never over its budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from gitops.plan.model import (
    ClusterInfrastructure,
    FileChange,
    ObjectChange,
    Plan,
    PoolUse,
    ReleaseChange,
)
from gitops.view import wording
from gitops.view.markdown import Part, code, comment, fence, fit, prose
from gitops.view.terminal import clip, visible
from gitops.view.wording import count, marks, unit_name

UNIT_ROWS = 50
"""With more units than this the summary has one row an environment."""

# What is left out first has the highest number.
_HEAD, _REFUSAL, _WARNING, _ROW, _BLOCK, _FIELD, _DIFF = range(7)
_NOUNS = (
    "file diff",
    "file name",
    "field list",
    "object",
    "release",
    "resource",
    "unit",
    "cluster",
    "row",
    "warning",
    "refusal",
)
_NOTE_ROOM = 400
_FIELD_WIDTH = 120
_LINE_LIMIT = 300


def marker(pipeline: str) -> str:
    """The first line of the comment, by which CI finds the one it wrote before."""
    return f"<!-- gitops-plan: {comment(pipeline)} -->"


def plan_markdown(plan: Plan, *, budget: int = 60_000) -> str:
    """GitHub-flavoured Markdown of at most `budget` characters (at least 2,000), whatever the plan holds.

    When it does not fit, file diffs go first, then fields, then objects and blocks, then rows of tables;
    refusals and warnings are kept as long as they fit by themselves. A last line says what was left out.
    """
    whole = Part(_HEAD, _head(plan), inner=list(_parts(plan, budget)))
    text, left_out = fit(whole, budget - _NOTE_ROOM)
    return text + _note(left_out)


def _head(plan: Plan) -> str:
    base = plan.base
    lines = [
        marker(base.pipeline),
        f"### {prose(f'gitops plan: {base.pipeline}', 200)}",
        "",
        f"**{wording.verdict(plan)}**",
        "",
        prose(wording.based_on(base), 300),
    ]
    for caveat in wording.caveats(base):
        lines += ["", f"⚠️ **{caveat}**"]
    return "\n".join(lines) + "\n"


def _parts(plan: Plan, budget: int) -> Iterator[Part]:
    # All of them fit when each takes its share of the room; few of them may be long.
    messages = len(plan.refusals) + len(plan.warnings)
    share = min(2000, max(120, (budget - 1500) // max(messages, 1) - 60))
    yield from _refusals(plan, share)
    yield from _warnings(plan, share)
    yield _counts(plan)
    yield from _table(_UNIT_HEAD if _few_units(plan) else _ENVIRONMENT_HEAD, _summary_rows(plan))
    yield from _capacity(plan.capacity)
    yield from _table(("To register first", "By"), ((code(i.unit), prose(i.reason)) for i in plan.registrations))
    yield from _table(("Waiting", "For what"), ((code(i.unit), prose(i.reason)) for i in plan.waiting))
    yield from _table(("Not reached", "Why"), ((code(i.unit), prose(i.reason)) for i in plan.unreachable))
    yield from _table(("Left alone", "Why"), ((code(i.unit), prose(i.reason)) for i in plan.left_alone))
    for cluster in plan.infrastructure:
        yield from _infrastructure(cluster)
    # Production first: when not all fits, that is what must be seen.
    order = {environment: i for i, environment in enumerate(plan.environments)}
    units = sorted(_units(plan).items(), key=lambda item: -order.get(item[0].partition("/")[0], -1))
    outlook = wording.outlook_of(plan)
    yield from (_unit(unit, changes, outlook.pop(unit, ())) for unit, changes in units)
    yield from (_ahead(unit, lines) for unit, lines in outlook.items())


def _refusals(plan: Plan, share: int) -> Iterator[Part]:
    if plan.refusals:
        heading = f"\n#### ⛔ {wording.refused_heading(plan)} ({count(len(plan.refusals), 'rule')})\n\n"
        rows = [
            f"- **{prose(item.rule, 60)}**: {prose(item.message, share)}"
            + (f" (overrule with {code(item.flag, 60)})" if item.flag else "")
            for item in plan.refusals
        ]
        yield _list(_REFUSAL, "refusal", heading, rows)


def _warnings(plan: Plan, share: int) -> Iterator[Part]:
    if plan.warnings:
        rows = [f"- ⚠️ {prose(warning, share)}" for warning in plan.warnings]
        yield _list(_WARNING, "warning", f"\n#### {count(len(plan.warnings), 'warning')}\n\n", rows)


def _list(rank: int, noun: str, heading: str, rows: Iterable[str]) -> Part:
    return Part(rank, heading, inner=[Part(rank, f"{row}\n", noun) for row in rows])


def _counts(plan: Plan) -> Part:
    lines = ["", "| | create | update | delete |", "|---|---:|---:|---:|"]
    for kind, actions in plan.summary().items():
        noun = kind if kind == "infrastructure" else f"{kind}s"
        looked = plan.base.live or kind in ("release", "file") or any(actions.values())
        cells = [str(number) for number in actions.values()] if looked else ["not looked at", "", ""]
        lines.append(f"| {noun} | {' | '.join(cells)} |")
    return Part(_HEAD, "\n".join(lines) + "\n")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Part]:
    """Nothing when there are no rows; every cell must be safe Markdown already."""
    inner = [Part(_ROW, f"| {' | '.join(row)} |\n", "row") for row in rows]
    if inner:
        yield Part(_ROW, f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}\n", inner=inner)


_UNIT_HEAD = ("Environment", "Model", "Release", "Files", "Objects")
_ENVIRONMENT_HEAD = ("Environment", "Releases", "Files", "Objects")
_Changes = tuple[list[ReleaseChange], list[FileChange], list[ObjectChange]]


def _units(plan: Plan) -> dict[str, _Changes]:
    return _by(plan, lambda unit: unit)


def _by(plan: Plan, key: Callable[[str], str]) -> dict[str, _Changes]:
    groups: dict[str, _Changes] = {}
    for release in plan.releases:
        groups.setdefault(key(str(release.unit)), ([], [], []))[0].append(release)
    for file in plan.files:
        groups.setdefault(key(file.unit), ([], [], []))[1].append(file)
    for change in plan.objects:
        groups.setdefault(key(change.unit), ([], [], []))[2].append(change)
    return groups


def _few_units(plan: Plan) -> bool:
    return len(_units(plan)) <= UNIT_ROWS


def _summary_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    if not _few_units(plan):
        for environment, own in _by(plan, lambda unit: unit.partition("/")[0]).items():
            yield (code(unit_name(environment)), *(marks(change.action for change in group) for group in own))
        return
    for unit, (releases, files, objects) in _units(plan).items():
        environment, _, model = unit.partition("/")
        versions = ", ".join(map(_release, releases)) or "—"
        counts = (marks(change.action for change in group) for group in (files, objects))
        yield (code(unit_name(environment)), code(model), versions, *counts)


def _release(change: ReleaseChange) -> str:
    return f"{_VERBS.get(change.decision, change.action)} {code(wording.version_words(change))}"


_VERBS = {"start": "rollout", "roll-back": "roll back", "clear": "lift rejections for"}


def _capacity(capacity: Sequence[PoolUse]) -> Iterator[Part]:
    if not capacity:
        return
    head = ("Pool", "GPU", "GPUs now → after", "Peak", "Limit", "$/h now → after", "$/h at the peak")
    yield from _table(head, map(_pool, capacity))
    yield Part(_ROW, f"\n{prose(wording.total_cost(capacity))}\n", "row")


def _pool(use: PoolUse) -> tuple[str, ...]:
    before, after, peak = map(wording.price, (use.hourly_before, use.hourly_after, use.hourly_peak))
    mark = " ❗" if use.peak > use.capacity else ""
    return (
        code(f"{use.cluster}/{use.pool}"),
        code(use.gpu_type),
        f"{wording.gpus_now(use)} → {use.after}",
        f"{use.peak}{mark}",
        str(use.capacity),
        f"{before} → {after}",
        peak,
    )


def _infrastructure(cluster: ClusterInfrastructure) -> Iterator[Part]:
    changes = [line for line in cluster.resources if line.action != "read"]
    if changes:
        words = wording.infrastructure_words(cluster, changes)
        name, _, rest = words.rpartition(": ")
        lines = [Part(_BLOCK, _line(wording.resource_words(line)), "resource") for line in changes]
        yield _details("cluster", f"{code(name)}: {rest}", [_fenced(lines)])


def _unit(unit: str, changes: _Changes, outlook: Sequence[str]) -> Part:
    releases, files, objects = changes
    parts = [Part(_BLOCK, f"{_how(item)}\n\n", "release") for item in releases]
    if outlook:
        parts.append(_sentences(outlook))
    if objects:
        parts.append(_fenced([_object(change) for change in objects]))
    parts += [part for file in files for part in _file(file)]
    counts = f"files {marks(file.action for file in files)}, objects {marks(o.action for o in objects)}"
    return _details("unit", f"{code(unit_name(unit))}: {counts}", parts)


def _ahead(unit: str, outlook: Sequence[str]) -> Part:
    return _details("unit", f"{code(unit_name(unit))}: what is ahead of it once it may start", [_sentences(outlook)])


def _sentences(outlook: Sequence[str]) -> Part:
    return Part(_BLOCK, "".join(f"- {prose(said)}\n" for said in outlook) + "\n", "release")


def _how(change: ReleaseChange) -> str:
    if change.decision == "start":
        return f"Release: {_release(change)} by {code(change.rollout)}"
    return f"Release: {_release(change)}"


def _object(change: ObjectChange) -> Part:
    where = f"   [{change.cluster}]"
    part = Part(_BLOCK, _line(wording.object_words(change, namespace=True) + where), "object")
    if change.fields:
        fields = "".join(_line(f"      {wording.field_words(item, _FIELD_WIDTH)}") for item in change.fields)
        part.inner.append(Part(_FIELD, fields, "field list"))
    return part


def _file(change: FileChange) -> Iterator[Part]:
    if change.diff:
        body = "".join(f"{visible(line)}\n" for line in change.diff.removesuffix("\n").split("\n"))
        tick = fence(body)
        yield Part(_DIFF, f"{code(change.path)}\n\n{tick}diff\n{body}{tick}\n\n", "file diff")
    else:
        yield Part(_DIFF, f"- {change.action} {code(change.path)}\n\n", "file name")


def _line(text: str) -> str:
    return f"{clip(visible(text), _LINE_LIMIT)}\n"


def _fenced(parts: list[Part]) -> Part:
    tick = fence("".join(part.text for whole in parts for part in whole.walk()))
    return Part(_BLOCK, f"{tick}diff\n", inner=parts, end=f"{tick}\n\n")


def _details(noun: str, summary: str, inner: list[Part]) -> Part:
    return Part(_BLOCK, f"\n<details><summary>{summary}</summary>\n\n", noun, inner=inner, end="</details>\n")


def _note(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    listed = ", ".join(count(left_out[noun], noun) for noun in _NOUNS if left_out[noun])
    return f"\n… {listed} left out; see the job's log or <code>gitops plan</code>\n"
