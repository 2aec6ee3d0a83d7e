"""When a freeze holds. Windows are half-open: `from` is inside, `until` is not. Instants are seconds of the epoch.

A weekly window is counted in local time. Where clocks are set, it begins as early and ends as late as its times of
day can be read: a time that comes twice, or not at all, never shortens a freeze.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from gitops.spec.environment import Freeze

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60


def is_time(moment: str) -> bool:
    """Whether this is a time of day, not an instant."""
    return "T" not in moment


def instant(moment: str) -> int:
    """An RFC 3339 instant; ValueError if there is no such date or time."""
    return int(datetime.fromisoformat(moment).timestamp())


def time_of_day(moment: str) -> int:
    """`16:30` as minutes since midnight, up to `24:00`; ValueError if there is no such time."""
    hours, minutes = (int(part) for part in moment.split(":"))
    if minutes > 59 or hours * 60 + minutes > _DAY:
        raise ValueError(f"{moment} is not a time of day")
    return hours * 60 + minutes


def zone(name: str | None) -> tzinfo:
    """The timezone of an IANA name, UTC for none; ValueError if this machine does not know it."""
    if name in (None, "UTC"):
        return UTC
    assert name
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # a directory of the database is an OSError
        raise ValueError(f"there is no timezone {name}") from error


def end_of(freeze: Freeze, at: int) -> int | None:
    """When the window that holds this instant ends; None if the freeze does not hold then."""
    ends = [end for begin, end in _windows(freeze, at) if begin <= at < end]
    return max(ends, default=None)


def in_words(freeze: Freeze, at: int) -> str:
    """An instant as the freeze counts: `Mon 2026-11-30 08:00 Europe/Berlin`."""
    local = datetime.fromtimestamp(at, zone(freeze.timezone))
    day = DAYS[local.weekday()].capitalize()
    seconds = f":{local.second:02d}" if local.second else ""
    return f"{day} {local:%Y-%m-%d %H:%M}{seconds} {freeze.timezone or 'UTC'}"


def _windows(freeze: Freeze, at: int) -> Iterator[tuple[int, int]]:
    """The windows that may hold the instant. None is longer than a day, so none begins before yesterday."""
    if not freeze.days:
        yield instant(freeze.begin), instant(freeze.until)
        return
    where = zone(freeze.timezone)
    start, stop = time_of_day(freeze.begin), time_of_day(freeze.until)
    today = datetime.fromtimestamp(at, where).date()
    for day in (today, today - timedelta(days=1)):
        if DAYS[day.weekday()] in freeze.days:
            last = stop if stop > start else stop + _DAY
            yield min(_readings(day, start, where)), max(_readings(day, last, where))


def _readings(day: date, minutes: int, where: tzinfo) -> list[int]:
    """The instants that a local time may mean."""
    local = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return [int(local.replace(tzinfo=where, fold=fold).timestamp()) for fold in (0, 1)]
