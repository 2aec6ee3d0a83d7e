"""`gitops plan` on a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from gitops.plan.model import ClusterInfrastructure, FileChange, ObjectChange, Plan, PoolUse, ReleaseChange
from gitops.view import wording
from gitops.view.terminal import Colour, Line, display_width, pad, paint, table, visible
from gitops.view.wording import SYMBOLS, count, grouped, tally, unit_name

RESOURCES_SHOWN = 60
"""Infrastructure lines of one cluster before the rest is only counted."""
UNITS_SHOWN = 60
"""Units in the list of files before the rest is only counted."""
OUTLOOKS_SHOWN = 4
"""Of units that wait; of more only `full` says what is ahead of them."""

_COLOURS: dict[str, Colour] = {"create": "green", "update": "yellow", "delete": "red", "replace": "red"}


def plan_text(plan: Plan, *, width: int = 100, color: bool = False, diffs: bool = False, full: bool = False) -> str:
    """The whole plan for a person, ending with one line that sums it up.

    `diffs` adds the unified diffs of files, `full` lists every infrastructure change of a large cluster. Text
    that users control cannot drive the terminal.
    """
    sections = (
        _registrations(plan, width),
        _releases(plan, width),
        _waiting(plan, width, full),
        _objects(plan.objects, width, full),
        _infrastructure(plan.infrastructure, full),
        _files(plan.files, diffs, full),
        _capacity(plan.capacity),
        _unreachable(plan, width),
        _left_alone(plan, width),
        _warnings(plan.warnings, width),
        _refused(plan, width),
    )
    lines = list(_header(plan, width))
    for section in map(list, sections):
        if section:
            lines += [Line(), *section]
    lines += [Line(), Line(wording.verdict(plan), "bold")]
    return paint(lines, color=color)


def _header(plan: Plan, width: int) -> Iterator[Line]:
    yield from _wrapped(wording.title(plan), width, "bold", indent="")
    yield Line(f"  {wording.based_on(plan.base)}")
    for caveat in wording.caveats(plan.base):
        yield Line(f"  {caveat}", "yellow")


def _registrations(plan: Plan, width: int) -> Iterator[Line]:
    if not plan.registrations:
        return
    yield Line(f"Before any release: {count(len(plan.registrations), 'version')} to register", "bold")
    for item in plan.registrations:
        yield from _wrapped(f"{visible(item.unit)}: {item.reason}", width)


def _releases(plan: Plan, width: int) -> Iterator[Line]:
    if not plan.releases:
        return
    yield Line(f"Releases: {tally(change.action for change in plan.releases)}", "bold")
    outlook = wording.outlook_of(plan)
    for heading, changes in wording.groups(plan):
        yield from _wrapped(heading, width)
        rows = [_release(change) for change in changes]
        for change, text in zip(changes, table(rows), strict=True):
            yield Line(text, _COLOURS[change.action])
            for said in outlook.get(str(change.unit), ()):
                yield from _wrapped(said, width, indent="        ")


def _release(change: ReleaseChange) -> tuple[str, ...]:
    # The policy says nothing about what happens at once, whatever it says about the next version.
    policy = change.rollout if change.decision == "start" else ""
    return (f"    {SYMBOLS[change.action]} {change.unit}", wording.version_words(change), policy)


def _waiting(plan: Plan, width: int, full: bool) -> Iterator[Line]:
    """What the spec names and does not run yet: nothing is done for it now, but its rollout is what comes of this."""
    if not plan.waiting:
        return
    yield Line(f"Waiting: {count(len(plan.waiting), 'unit')}", "bold")
    longest = max(display_width(visible(item.unit)) for item in plan.waiting)
    outlook = wording.outlook_of(plan)
    told = full or sum(item.unit in outlook for item in plan.waiting) <= OUTLOOKS_SHOWN
    for item in plan.waiting:
        yield from _wrapped(f"{pad(visible(item.unit), longest)}  {item.reason}", width)
        for said in outlook.get(item.unit, ()) if told else ():
            yield from _wrapped(said, width, indent="      ")
    if not told:
        yield Line("  (--full says what is ahead of each)")


def _objects(objects: Sequence[ObjectChange], width: int, full: bool) -> Iterator[Line]:
    if not objects:
        return
    yield Line(f"Objects: {tally(change.action for change in objects)}", "bold")
    places = grouped((f"{change.environment or '(shared)'} on {change.cluster}", change) for change in objects)
    for place, changes in places.items():
        yield Line(f"  {place}", "bold")
        several = len({change.ref.namespace for change in changes} - {""}) > 1
        for unit, own in grouped((change.unit, change) for change in changes).items():
            name = unit.partition("/")[2] or unit_name(unit)
            if _all_new(own) and not full:
                yield from _created(name, own, width)
                continue
            yield Line(f"    {name}")
            for change in own:
                yield from _object(change, width, namespace=several)


def _all_new(changes: Sequence[ObjectChange]) -> bool:
    return len(changes) > 1 and all(change.action == "create" and change.reason == "spec" for change in changes)


def _created(name: str, changes: Sequence[ObjectChange], width: int) -> Iterator[Line]:
    """A unit that is new altogether needs no line for each object."""
    kinds = Counter(change.ref.kind for change in changes)
    words = ", ".join(kind if number == 1 else f"{number} {kind}" for kind, number in kinds.items())
    yield from _wrapped(f"+ {name}: {words}", width, "green", indent="    ")


def _object(change: ObjectChange, width: int, *, namespace: bool) -> Iterator[Line]:
    colour = _COLOURS[change.action]
    yield Line(f"      {wording.object_words(change, namespace=namespace)}", colour)
    for field in change.fields:
        yield Line(f"          {wording.field_words(field, width - 10)}", colour)


def _infrastructure(clusters: Sequence[ClusterInfrastructure], full: bool) -> Iterator[Line]:
    heading = [Line("Infrastructure", "bold")]
    for cluster in clusters:
        changes = [line for line in cluster.resources if line.action != "read"]
        if not changes:
            continue
        yield from heading
        heading = []
        yield Line(f"  {wording.infrastructure_words(cluster, changes)}", "bold")
        shown = changes if full else changes[:RESOURCES_SHOWN]
        for line in shown:
            yield Line(f"    {wording.resource_words(line)}", _COLOURS[line.action])
        if len(changes) > len(shown):
            yield Line(f"    … and {len(changes) - len(shown):,} more (--full lists them)")


def _files(files: Sequence[FileChange], diffs: bool, full: bool) -> Iterator[Line]:
    if not files:
        return
    yield Line(f"Files: {tally(change.action for change in files)}", "bold")
    units = grouped((change.unit, change) for change in files)
    rows = [(f"  {unit_name(unit)}", tally(change.action for change in own)) for unit, own in units.items()]
    shown = rows if full else rows[:UNITS_SHOWN]
    yield from map(Line, table(shown))
    if len(rows) > len(shown):
        yield Line(f"  … and {len(rows) - len(shown):,} more units (--full lists them)")
    if diffs:
        for change in files:
            yield from _diff(change)


def _diff(change: FileChange) -> Iterator[Line]:
    yield Line()
    yield Line(f"  {SYMBOLS[change.action]} {change.path}", _COLOURS[change.action])
    for text in change.diff.removesuffix("\n").split("\n") if change.diff else ():
        colour: Colour = {"+": "green", "-": "red"}.get(text[:1], "")  # type: ignore[assignment]
        yield Line(f"    {text}", colour)


def _capacity(capacity: Sequence[PoolUse]) -> Iterator[Line]:
    if not capacity:
        return
    yield Line("GPUs and cost", "bold")
    head = ("  pool", "GPU", "GPUs now", "after", "peak", "limit", "$/h now", "after", "peak", "")
    rows = [head, *map(_pool, capacity)]
    colours: list[Colour] = ["", *(("red" if use.peak > use.capacity else "") for use in capacity)]
    for text, colour in zip(table(rows, right=frozenset(range(2, 9))), colours, strict=True):
        yield Line(text, colour)
    yield Line(f"  {wording.total_cost(capacity)}")


def _pool(use: PoolUse) -> tuple[str, ...]:
    gpus = (wording.gpus_now(use), *map(str, (use.after, use.peak, use.capacity)))
    prices = (wording.price(hourly) for hourly in (use.hourly_before, use.hourly_after, use.hourly_peak))
    mark = "!" if use.peak > use.capacity else ""
    return (f"  {use.cluster}/{use.pool}", use.gpu_type, *gpus, *prices, mark)


def _unreachable(plan: Plan, width: int) -> Iterator[Line]:
    if plan.unreachable:
        yield Line(f"Not reached: {count(len(plan.unreachable), 'cluster')}", "bold")
    for item in plan.unreachable:
        yield from _wrapped(f"{visible(item.unit)}: {visible(item.reason)}", width, "red")


def _left_alone(plan: Plan, width: int) -> Iterator[Line]:
    if plan.left_alone:
        yield Line(f"Left alone: {count(len(plan.left_alone), 'unit')}", "bold")
    for item in plan.left_alone:
        yield from _wrapped(f"{unit_name(item.unit)}: {item.reason}", width)


def _warnings(warnings: Iterable[str], width: int) -> Iterator[Line]:
    for i, warning in enumerate(warnings):
        if i == 0:
            yield Line("Warnings", "bold")
        yield from _wrapped(warning, width, "yellow")


def _refused(plan: Plan, width: int) -> Iterator[Line]:
    if plan.refusals:
        yield Line(wording.refused_heading(plan), "bold")
    for item in plan.refusals:
        flag = f" (overrule with {item.flag})" if item.flag else ""
        yield from _wrapped(f"{item.rule}: {item.message}{flag}", width, "red")


def _wrapped(text: str, width: int, colour: Colour = "", *, indent: str = "  ") -> Iterator[Line]:
    # A number stays with its per cent.
    lines = textwrap.wrap(
        text.replace(" %", "\u00a0%"),
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (Line(line.replace("\u00a0%", " %"), colour) for line in lines)
