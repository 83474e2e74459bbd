"""Crontab lines name the moments that cron would."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pipelines.cron import latest_slot, next_slot, trigger_of
from pipelines.recipe import Schedule
from tsforecast.errors import RecipeError

NOW = datetime(2024, 1, 17, 14, 30, tzinfo=UTC)  # a Wednesday


def slots(cron: str, count: int, *, timezone: str = "UTC", after: datetime = NOW) -> list[str]:
    trigger, found = trigger_of(Schedule(cron=cron, timezone=timezone)), []
    for _ in range(count):
        slot = next_slot(trigger, after)
        assert slot is not None
        found.append(slot.strftime("%a %d %H:%M"))
        after = slot
    return found


@pytest.mark.parametrize(
    ("weekdays", "days"),
    [
        ("0", ["Sun 21"]),
        ("7", ["Sun 21"]),
        ("1", ["Mon 22"]),  # APScheduler alone would say Tuesday
        ("1-5", ["Thu 18", "Fri 19", "Mon 22"]),
        ("5-7", ["Fri 19", "Sat 20", "Sun 21"]),
        ("sat,SUN", ["Sat 20", "Sun 21", "Sat 27"]),
        ("fri-mon", ["Fri 19", "Sat 20", "Sun 21", "Mon 22", "Fri 26"]),
        ("*/2", ["Thu 18", "Sat 20", "Sun 21"]),
        ("1-5/2", ["Fri 19", "Mon 22", "Wed 24"]),
    ],
)
def test_weekdays_are_counted_as_crontab_counts_them(weekdays: str, days: list[str]) -> None:
    assert slots(f"0 6 * * {weekdays}", len(days)) == [f"{day} 06:00" for day in days]


def test_minutes_hours_and_months_are_read() -> None:
    assert slots("*/20 14-15 * * *", 4) == ["Wed 17 14:40", "Wed 17 15:00", "Wed 17 15:20", "Wed 17 15:40"]
    assert slots("0 0 1 2,3 *", 2) == ["Thu 01 00:00", "Fri 01 00:00"]


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 6 1 * 1", "limits day of month and day of week; limit one of them"),
        ("61 6 * * *", r"schedule\.cron '61 6 \* \* \*' cannot be read: "),
        ("0 6 * * 8", r"cannot be read: no weekday '8'; they are 0 \(Sunday\) to 6, or sun to sat"),
        ("0 6 * * mo", "cannot be read: no weekday 'mo'"),
        ("0 6 * * */x", "cannot be read: "),
    ],
)
def test_a_line_that_cannot_be_read_is_named(cron: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        trigger_of(Schedule(cron=cron))


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", "2024-01-17T14:30:00+00:00"),
        ("30 14 * * *", "2024-01-17T14:30:00+00:00"),  # a slot at this very moment is there
        ("31 14 * * *", "2024-01-16T14:31:00+00:00"),
        ("0 6 * * 1", "2024-01-15T06:00:00+00:00"),
        ("0 0 1 * *", "2024-01-01T00:00:00+00:00"),
        ("0 0 29 2 *", "2020-02-29T00:00:00+00:00"),
    ],
)
def test_the_latest_slot_is_the_last_one_not_later_than_now(cron: str, expected: str) -> None:
    slot = latest_slot(trigger_of(Schedule(cron=cron)), NOW)
    assert slot is not None and slot.isoformat() == expected


def test_slots_follow_the_wall_clock_of_their_zone_over_both_changes_of_the_clock() -> None:
    trigger = trigger_of(Schedule(cron="0 6 * * *", timezone="Europe/Berlin"))
    spring = [next_slot(trigger, datetime(2024, 3, day, 12, tzinfo=UTC)) for day in (29, 30)]
    assert [slot and slot.isoformat() for slot in spring] == ["2024-03-30T06:00:00+01:00", "2024-03-31T06:00:00+02:00"]
    every_half_hour = trigger_of(Schedule(cron="*/30 * * * *", timezone="Europe/Berlin"))
    moment, seen = datetime(2024, 10, 27, 0, 0, tzinfo=UTC), []
    for _ in range(4):  # the hour from 2 to 3 comes twice
        slot = next_slot(every_half_hour, moment)
        assert slot is not None
        seen.append(slot.astimezone(UTC))
        moment = slot
    assert [b - a for a, b in pairwise(seen)] == [timedelta(minutes=30)] * 3
    latest = latest_slot(trigger, datetime(2024, 10, 27, 5, 30, tzinfo=UTC))
    assert latest == datetime(2024, 10, 27, 6, tzinfo=ZoneInfo("Europe/Berlin"))
