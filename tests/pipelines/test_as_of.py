"""The frame as it was at a moment."""

import pandas as pd
import pytest

from pipelines.as_of import canonical, cut, later, latest, parse_times, slug
from tsforecast.errors import RecipeError, SchemaError


@pytest.mark.parametrize(
    ("text", "spelling", "folder"),
    [
        ("2024-01-31", "2024-01-31T00:00:00", "2024-01-31"),
        (" 2024-01-31 06:00 ", "2024-01-31T06:00:00", "2024-01-31T060000"),
        ("2024-01-31T06:00:00+01:00", "2024-01-31T06:00:00+01:00", "2024-01-31T060000+0100"),
        ("700", "700", "700"),
        ("-3", "-3", "-3"),
    ],
)
def test_a_moment_has_one_spelling_and_one_folder(text: str, spelling: str, folder: str) -> None:
    assert canonical(text) == spelling
    assert slug(canonical(text)) == folder


@pytest.mark.parametrize("text", ["yesterday", "now", "today", "", "2024-13-01", "NaT", "../x"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="as_of must be a timestamp such as 2024-01-31 or 2024-01-31T06:00, or an integer"):
        canonical(text)


def frame(*times: object) -> pd.DataFrame:
    return pd.DataFrame({"ds": list(times), "y": range(len(times))})


def test_the_row_at_the_moment_stays_and_the_next_goes() -> None:
    days = parse_times(frame("2024-01-01", "2024-01-02", "2024-01-03"), "ds")
    assert cut(days, "ds", "2024-01-02T00:00:00")["y"].tolist() == [0, 1]
    assert cut(days, "ds", "2024-01-02T23:59:59")["y"].tolist() == [0, 1]
    assert later(days, "ds", "2024-01-02")["y"].tolist() == [2]
    assert latest(days, "ds") == "2024-01-03T00:00:00"


def test_a_moment_with_an_offset_is_an_instant_for_zoned_rows_and_a_wall_clock_for_others() -> None:
    noon = "2024-01-01T12:00:00+01:00"
    zoned = parse_times(frame("2024-01-01T11:00:00Z", "2024-01-01T11:30:00Z"), "ds")
    assert cut(zoned, "ds", noon)["y"].tolist() == [0]
    naive = parse_times(frame("2024-01-01T11:30:00", "2024-01-01T12:00:00", "2024-01-01T12:30:00"), "ds")
    assert cut(naive, "ds", noon)["y"].tolist() == [0, 1]
    berlin = naive.assign(ds=naive["ds"].dt.tz_localize("Europe/Berlin"))
    assert cut(berlin, "ds", "2024-01-01T12:00:00")["y"].tolist() == [0, 1]


@pytest.mark.parametrize("zone", ["Z", "+00", "+0000", "+00:00"])
def test_every_spelling_of_a_zone_is_seen(zone: str) -> None:
    times = parse_times(frame(f"2024-01-01 06:30{zone}", f"2024-01-01T07{zone}"), "ds")["ds"]
    assert str(times.dtype).endswith("UTC]")
    plain = parse_times(frame("2024-01-01", "2024-01-02 06:30:00.5"), "ds")["ds"]
    assert plain.dt.tz is None


def test_integers_are_compared_as_integers() -> None:
    steps = frame(8, 9, 10)
    assert parse_times(steps, "ds") is steps
    assert cut(steps, "ds", "9")["y"].tolist() == [0, 1]
    assert latest(steps, "ds") == "10"


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            ["2024-01-01", "31.01.2024"],
            r"column 'ds', row 1: '31\.01\.2024' is no ISO 8601 timestamp; write 2024-01-31 or 2024-01-31T06:00:00",
        ),
        (["2024-01-01T00:00Z", "2024-01-02T00:00"], r"column 'ds', row 1: '2024-01-02T00:00' has no zone while others have one"),
    ],
)
def test_a_text_that_is_no_timestamp_is_named_with_its_row(times: list[str | None], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_times(frame(*times), "ds")


@pytest.mark.parametrize("second", ["2024-01-02", "2024-01-02T00:00Z"])
def test_a_row_without_a_moment_stays_for_others_to_name_or_repair(second: str) -> None:
    days = parse_times(frame(second, None, second.replace("02", "05")), "ds")
    assert days["ds"].isna().tolist() == [False, True, False]
    assert cut(days, "ds", "2024-01-03")["y"].tolist() == [0, 1]
    assert later(days, "ds", "2024-01-03")["y"].tolist() == [2]


def test_an_empty_source_has_no_last_moment() -> None:
    with pytest.raises(SchemaError, match=r"the source has no rows; check source\.path or source\.query"):
        latest(frame(), "ds")
