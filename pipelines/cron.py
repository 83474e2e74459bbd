"""A crontab line and a time zone -> the moments it names. APScheduler does the arithmetic; its other parts are not used."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pipelines.recipe import Schedule
from tsforecast.errors import RecipeError

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

FIELDS = ("minute", "hour", "day", "month", "day_of_week")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # as crontab counts them: 0 = Sunday, and so is 7
LOOK_BACK = tuple(timedelta(minutes=minutes) for minutes in (2, 90, 26 * 60, 8 * 1440, 32 * 1440, 367 * 1440, 5 * 366 * 1440))


def trigger_of(schedule: Schedule) -> "CronTrigger":
    """The moments of a schedule.

    Raises:
        RecipeError: a field of the line cannot be read, or day of month and day of week are both limited.
    """
    from apscheduler.triggers.cron import CronTrigger

    fields = dict(zip(FIELDS, schedule.cron.split(), strict=True))
    if fields["day"] != "*" and fields["day_of_week"] != "*":  # crontab would run on either, APScheduler on both only
        raise RecipeError(
            f"schedule.cron {schedule.cron!r} limits day of month and day of week; limit one of them", field="schedule.cron"
        )
    try:
        fields["day_of_week"] = _weekdays(fields["day_of_week"])
        return CronTrigger(**fields, timezone=ZoneInfo(schedule.timezone))
    except ValueError as error:
        raise RecipeError(f"schedule.cron {schedule.cron!r} cannot be read: {error}", field="schedule.cron") from error


def latest_slot(trigger: "CronTrigger", now: datetime) -> datetime | None:
    """The last moment of the trigger that is not later than `now`, in the zone of the schedule; None = none in five years."""
    for window in LOOK_BACK:
        slot = next_slot(trigger, now - window)
        if slot is None or slot > now:
            continue
        while (after := next_slot(trigger, slot)) is not None and after <= now:
            slot = after
        return slot
    return None


def next_slot(trigger: "CronTrigger", after: datetime) -> datetime | None:
    """The first moment of the trigger later than `after`; None = never again."""
    # Asked in UTC: the hour that clocks go through twice in autumn is two hours there.
    found: datetime | None = trigger.get_next_fire_time(None, after.astimezone(UTC) + timedelta(microseconds=1))
    return found


def _weekdays(text: str) -> str:
    """The weekday field by names: crontab counts from Sunday = 0, APScheduler from Monday = 0.

    Raises:
        ValueError: not a list of weekdays, ranges and steps.
    """
    if text == "*":
        return text
    days: list[str] = []
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        low = _weekday(first)
        high = _weekday(last) if last else (6 if step else low)
        if high < low:
            high += 7
        days += [WEEKDAYS[day % 7] for day in range(low, high + 1, int(step or 1))]
    return ",".join(dict.fromkeys(days))


def _weekday(text: str) -> int:
    if text[:3] in WEEKDAYS and not text.isdigit():
        return WEEKDAYS.index(text[:3])
    number = int(text) if text.isdigit() else -1
    if not 0 <= number <= 7:
        raise ValueError(f"no weekday {text!r}; they are 0 (Sunday) to 6, or sun to sat")
    return number
