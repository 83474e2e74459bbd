"""Kinds of events on simulated series, and gaps."""

import json

import numpy as np
import pytest

from tsforecast.anomaly.kinds import GapWatch, kind_of
from tsforecast.errors import OptionError

KINDS = ("spike", "level shift", "shape", "variance", "gap")
SEASON = 24


def simulated(kind, rng):
    """(values, expected, start, end): a seasonal series with one event, whose borders are as late as those of a window score."""
    steps, season = 800, SEASON
    t = np.arange(steps)
    height, deviation = rng.uniform(1, 6), rng.uniform(0.2, 0.6)
    usual = height * np.sin(2 * np.pi * t / season) + 0.4 * height * np.sin(4 * np.pi * t / season + 1) + rng.uniform(-50, 50)
    values = usual + deviation * rng.standard_normal(steps)
    first = int(rng.integers(500, 600))
    if kind == "spike":
        length = int(rng.integers(1, 4))
        values[first : first + length] += rng.choice([-1, 1]) * rng.uniform(8, 25) * deviation
    elif kind == "level shift":
        length = int(rng.integers(30, 200)) if rng.random() < 0.5 else steps - first  # it returns, or does not
        values[first : first + length] += rng.choice([-1, 1]) * rng.uniform(4, 15) * deviation
    elif kind == "variance":
        length = int(rng.integers(30, 90))
        values[first : first + length] += rng.uniform(3, 6) * deviation * rng.standard_normal(length)
    elif kind == "shape":
        length = int(rng.integers(season, 3 * season))
        part = slice(first, first + length)
        odd = (height * np.sin(4 * np.pi * t / season), usual.mean() - usual, np.zeros(steps))[rng.integers(3)]
        values[part] += usual.mean() + odd[part] - usual[part]
    else:
        length = int(rng.integers(20, 80))
        values[first : first + length] = np.nan
    start = first + int(rng.integers(0, max(1, min(length // 3, 4))))
    end = min(first + min(length, 100) - 1 + int(rng.integers(0, season)), steps - 1)
    known = min(steps, end + 1 + int(rng.integers(0, 60)))
    return values[:known], usual[:known], start, end


@pytest.mark.parametrize("knows", ["what to expect", "the season only"])
def test_nine_events_in_ten_of_each_kind_are_told(knows):
    rng = np.random.default_rng(0)
    told = np.zeros((5, 5), dtype=int)  # [kind, found]
    for i, kind in enumerate(KINDS):
        for _ in range(60):
            values, expected, start, end = simulated(kind, rng)
            if knows == "what to expect":
                found = kind_of(values, expected, start, end)
            else:
                found = kind_of(values, None, start, end, season=SEASON)
            told[i, KINDS.index(found)] += 1
    share = told.diagonal() / told.sum(axis=1)
    assert (share >= 0.9).all(), f"{knows}: rows are {KINDS}\n{told}"
    assert share.mean() >= 0.95, f"{knows}: rows are {KINDS}\n{told}"


def test_later_values_are_not_needed():
    rng = np.random.default_rng(1)
    values, expected, start, end = simulated("level shift", rng)
    assert kind_of(values[: end + 1], expected[: end + 1], start, end) == "level shift"


def test_a_series_that_goes_flat_has_lost_its_variance():
    rng = np.random.default_rng(2)
    values = rng.standard_normal(400)
    values[300:360] = 0.0
    assert kind_of(values, np.zeros(400), 310, 359) == "variance"


def test_a_constant_that_jumps_once_is_a_spike_and_one_that_stays_up_a_level_shift():
    values = np.zeros(200)
    values[150] = 3.0
    assert kind_of(values, None, 150, 165) == "spike"
    values[150:] = 3.0
    assert kind_of(values, None, 150, 180) == "level shift"


def test_an_event_without_a_past_is_a_spike_if_it_is_short_and_a_shape_if_not():
    values = np.arange(50.0)
    assert kind_of(values, None, 0, 1) == "spike"
    assert kind_of(values, None, 0, 30) == "shape"


def test_a_season_longer_than_what_is_known_is_no_error():
    values = np.random.default_rng(3).standard_normal(100)
    assert kind_of(values, None, 50, 70, season=1_440) in KINDS


def test_an_event_outside_the_values_is_refused():
    with pytest.raises(OptionError, match="not inside the 5 values"):
        kind_of(np.zeros(5), None, 3, 5)


# Gaps


def watched(missing, *, least=3, chunks=(), timestamps=None):
    watch = GapWatch(series_id="s", least=least)
    timestamps = np.arange(len(missing)) + 10 if timestamps is None else timestamps
    changes = []
    for part in np.split(np.arange(len(missing)), list(chunks)):
        changes += watch.update(timestamps[part], missing=missing[part])
        watch = GapWatch.from_state(json.loads(json.dumps(watch.state())))
    return changes


def missing_of(text):
    return np.array([letter == "x" for letter in text], dtype=bool)


def test_a_run_of_missing_values_is_a_gap_from_the_step_at_which_it_is_long_enough():
    changes = watched(missing_of(".xx.xxxxx..xxx"))
    assert [(change.what, change.event.first_row, change.event.last_row) for change in changes] == [
        ("opened", 4, 6),
        ("closed", 4, 8),
        ("opened", 11, 13),
    ]
    closed = changes[1].event
    assert (closed.id, closed.start, closed.end, closed.kind, closed.open) == ("s@14", 14, 18, "gap", False)
    assert (closed.steps, closed.peak_score, closed.p_value, closed.severity) == (5, 5.0, 1.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_do_not_depend_on_the_chunks(seed):
    rng = np.random.default_rng(seed)
    missing = np.repeat(rng.random(40) < 0.5, rng.integers(1, 6, 40))
    hours = np.datetime64("2024-01-01T00", "ns") + np.arange(len(missing)) * np.timedelta64(1, "h")
    whole = [change for change in watched(missing, timestamps=hours) if change.what != "extended"]
    single = watched(missing, timestamps=hours, chunks=range(1, len(missing)))
    assert [change for change in single if change.what != "extended"] == whole
    lengths = [change.event.steps for change in whole if change.what == "closed"]
    borders = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]))).reshape(-1, 2)
    ended = [stop - first for first, stop in borders if stop - first >= 3 and stop < len(missing)]
    assert lengths == ended and len(lengths) > 2


def test_a_gap_under_way_is_told_after_each_batch():
    changes = watched(missing_of("..xxxxxxx"), chunks=[5, 6, 8])
    assert [(change.what, change.event.steps) for change in changes] == [
        ("opened", 3),
        ("extended", 4),
        ("extended", 6),
        ("extended", 7),
    ]


def test_a_gap_of_no_steps_is_refused():
    with pytest.raises(OptionError, match="least"):
        GapWatch(series_id="s", least=0)
