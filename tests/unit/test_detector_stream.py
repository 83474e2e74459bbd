"""Streams: the same as a batch, bounded, idempotent, and safe to stop and go on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.anomaly.alarms import AlarmRules
from tsforecast.errors import ArtifactError, FrequencyError, OptionError, SchemaError
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.registry import available_models, recipe_class
from tsforecast.models.stream import AT_ONCE, MOST_SKIPPED, DetectorStream
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.panel import Panel

FITTED, ALL = 600, 1000
START = "2026-01-01"
DETECTORS = [name for name in available_models("anomaly") if name not in ("isolation_forest", "lstm_autoencoder")]


def values_of(rows: int = ALL) -> np.ndarray:
    y = np.sin(2 * np.pi * np.arange(rows) / 24) + 0.1 * np.random.default_rng(0).normal(size=rows)
    y[720] += 4.0
    y[800:803] = np.nan
    y[850:880] += 2.0
    return y


def panel(first: int = 0, last: int = ALL, series_id: str = "a") -> Panel:
    ds = pd.date_range(START, periods=ALL, freq="h")[first:last]
    return tsforecast.panel_from_frame(pd.DataFrame({"unique_id": series_id, "ds": ds, "y": values_of()[first:last]}), freq="h")


_FITTED: dict[str, FittedDetector] = {}


def detector(name: str = "window_energy") -> FittedDetector:
    if name not in _FITTED:
        _FITTED[name] = recipe_class(name).tiny().fit(panel(0, FITTED))  # type: ignore[call-arg, assignment]  # a detector
    return _FITTED[name]


def feed(stream: DetectorStream, first: int, last: int, size: int = 1) -> list:
    rows = panel(first, last)
    return [stream.update(rows.target[i : i + size], rows.timestamps[i : i + size]) for i in range(0, last - first, size)]


def points_of(updates: list) -> list:
    return [point for update in updates for point in update.points]


# The same as a batch


@pytest.mark.parametrize("name", DETECTORS)
def test_scores_p_values_alarms_and_events_are_those_of_the_batch(name: str) -> None:
    report = detector(name).score(panel(FITTED))
    stream = detector(name).stream("a")
    updates = feed(stream, FITTED, ALL)
    points = points_of(updates)
    np.testing.assert_allclose([one.score for one in points], report.score, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose([one.expected[0] for one in points], report.expected[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([one.p_value for one in points], report.p_value, rtol=0.05)
    assert [one.alarm for one in points] == report.alarm.tolist()
    events = {event.id: event for update in updates for event in update.events}
    assert [(one.id, one.kind) for one in events.values()] == [(one.id, one.kind) for one in report.events]


@pytest.mark.parametrize("size", [7, 400])
def test_the_size_of_the_pieces_makes_no_difference(size: int) -> None:
    one, other = detector().stream("a"), detector().stream("a")
    singly, pieces = points_of(feed(one, FITTED, ALL)), points_of(feed(other, FITTED, ALL, size))
    assert [p.alarm for p in singly] == [p.alarm for p in pieces]
    np.testing.assert_array_equal([p.score for p in singly], [p.score for p in pieces])
    np.testing.assert_array_equal([p.p_value for p in singly], [p.p_value for p in pieces])


def test_revised_scores_follow_once_nothing_can_change_them() -> None:
    found = detector("autoencoder")
    stream = found.stream("a")
    updates = feed(stream, FITTED, ALL)
    revised = [pair for update in updates for pair in update.revised]
    assert 0 < len(revised) <= ALL - FITTED - found.core.delay
    rows = panel(FITTED)
    assert [moment for moment, _ in revised] == list(rows.timestamps[: len(revised)])
    memory = found.memories["a"]
    from tsforecast.models.evidence import in_units, over_channels

    looking_back, before = found.looking_back(rows, 0, memory)
    wanted = over_channels(in_units(found.core.evidence(looking_back).revised[:, before:], memory.units[1]))
    np.testing.assert_allclose([score for _, score in revised], wanted[: len(revised)], rtol=1e-3, atol=1e-4)


def test_what_comes_later_never_changes_an_answer() -> None:
    stream = detector().stream("a")
    before = points_of(feed(stream, FITTED, FITTED + 50))
    feed(stream, FITTED + 50, ALL)
    again = points_of(feed(stream, FITTED, FITTED + 50))
    assert [one.score for one in again] == [one.score for one in before]


# Idempotent and bounded


def test_values_sent_again_are_answered_as_before_and_change_nothing() -> None:
    stream, twin = detector().stream("a"), detector().stream("a")
    first = points_of(feed(stream, FITTED, 700, 10))
    again = points_of(feed(stream, FITTED, 700, 10))
    assert all(one.repeated for one in again) and [one.p_value for one in again] == [one.p_value for one in first]
    feed(twin, FITTED, 700, 10)
    np.testing.assert_array_equal(
        [one.score for one in points_of(feed(stream, 700, 760))], [one.score for one in points_of(feed(twin, 700, 760))]
    )


def test_a_piece_that_overlaps_what_is_known_is_judged_from_where_it_is_new() -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    update = feed(stream, 640, 660, 20)[0]
    assert [one.repeated for one in update.points] == [True] * 10 + [False] * 10


def test_values_older_than_the_memory_are_counted_and_ignored() -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    update = feed(stream, FITTED - 20, FITTED - 10, 10)[0]
    assert update.points == () and update.outdated == 10


def test_values_that_are_not_what_was_judged_are_counted_and_not_read() -> None:
    stream, twin = detector().stream("a"), detector().stream("a")
    feed(twin, FITTED, 650)
    feed(twin, 660, 661)
    feed(stream, FITTED, 650)
    feed(stream, 660, 661)  # 650 … 659 are missing
    rows = panel(645, 655)
    update = stream.update(rows.target + np.where(np.arange(10) < 3, 1.0, 0.0), rows.timestamps)
    assert (update.changed, update.late, update.outdated, update.skipped) == (3, 5, 0, 0)
    assert [one.reason for one in update.points[5:]] == ["missing"] * 5
    same = feed(stream, 645, 650, 5)[0]
    assert (same.changed, same.late, same.outdated) == (0, 0, 0)
    assert feed(stream, 661, 690, 29)[0].points[-1] == feed(twin, 661, 690, 29)[0].points[-1]  # they have moved nothing


@pytest.mark.parametrize("timestamps", [None, []])
def test_no_values_are_an_empty_update(timestamps: list | None) -> None:
    stream = detector().stream("a")
    update = stream.update([], timestamps)
    assert (update.points, update.revised, update.events, update.skipped) == ((), (), (), 0)
    assert detector().stream("new").update([]).points == () and stream.rows == 0
    with pytest.raises(SchemaError, match="0 values and 1 timestamps"):
        stream.update([], ["2026-02-01"])


def test_a_check_tells_what_an_update_would_skip_or_raise_and_changes_nothing(tmp_path: Path) -> None:
    stream = detector().stream("a")
    late = panel(FITTED).timestamps[:2] + np.timedelta64(24 * 3_650, "h")
    assert stream.check([0.0, 0.0], late) == 0  # begins without looking back
    feed(stream, FITTED, 650)
    before = stored(stream, tmp_path / "before")
    assert [stream.check([0.0, 0.0], hours_after(stream, *steps)) for steps in ((1, 2), (11, 13), (-3, 2))] == [0, 11, 1]
    with pytest.raises(FrequencyError, match="would be skipped"):
        stream.check([0.0], hours_after(stream, MOST_SKIPPED + 2))
    with pytest.raises(SchemaError, match="infinite"):
        stream.check([np.inf])
    assert stored(stream, tmp_path / "after") == before
    assert feed(stream, 660, 661)[0].skipped == 10


def test_the_memory_does_not_grow_with_the_values() -> None:
    stream = detector().stream("a")
    sizes = []
    for _ in range(4):
        stream.update(np.zeros(5_000))
        arrays = stream.judge.state()[0]
        sizes.append(len(stream.values) + len(stream.answers) + sum(a.size for a in arrays.values()))
    assert sizes[3] <= sizes[1] * 1.05


# Gaps and bad input


def test_steps_between_are_missing_and_counted() -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    update = feed(stream, 660, 661)[0]
    assert update.skipped == 10 and len(update.points) == 1
    assert np.isnan(stream.values[-11:-1]).all()


def test_a_long_gap_is_an_event_of_its_own() -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    events = feed(stream, 700, 701)[0].events
    gaps = [one for one in events if one.kind == "gap"]
    assert [one.steps for one in gaps] == [50] and not gaps[0].open


def test_a_missing_value_has_no_score_and_says_so() -> None:
    point = detector().stream("a").update([None]).points[0]
    assert point.reason == "missing" and np.isnan(point.score) and not point.alarm


@pytest.mark.parametrize(
    ("values", "timestamps", "error", "told"),
    [
        ([np.inf], None, SchemaError, "infinite value in 'y', place 0"),
        ([[1.0, 2.0]], None, SchemaError, r"values must be \(n, 1\), got \(1, 2\)"),
        (["x"], None, SchemaError, "must be numbers"),
        ([1.0, 2.0], ["2026-02-01"], SchemaError, "2 values and 1 timestamps"),
        ([1.0], ["2026-02-01T00:30:00"], FrequencyError, "not on the clock of 'h'"),
        ([1.0], ["soon"], SchemaError, "must be moments"),
        ([1.0], [3], SchemaError, "must be moments"),
        ([1.0, 2.0], ["2026-02-02", "2026-02-01"], SchemaError, "ascend"),
    ],
)
def test_bad_input_is_refused_and_leaves_the_stream_as_it_was(
    values: list, timestamps: list | None, error: type, told: str
) -> None:
    stream = detector().stream("a")
    with pytest.raises(error, match=told):
        stream.update(values, timestamps)
    assert stream.rows == 0 and len(stream.answers) == 0
    assert feed(stream, FITTED, FITTED + 1)[0].points[0].score == detector().score(panel(FITTED)).score[0]


def hours_after(stream: DetectorStream, *steps: int) -> np.ndarray:
    found: np.ndarray = stream.times[-1] + np.asarray(steps) * np.timedelta64(1, "h")
    return found


def stored(stream: DetectorStream, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in stream.save(folder).iterdir()}


@pytest.mark.parametrize("steps", [[87_660], [1, 2, 87_660], [*range(1, AT_ONCE + 11), 10 * AT_ONCE]], ids=["one", "few", "many"])
def test_a_value_years_ahead_is_refused_with_all_that_came_with_it(steps: list[int], tmp_path: Path) -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    before = stored(stream, tmp_path / "before")
    times = hours_after(stream, *steps)
    far, last = (pd.Timestamp(one).isoformat() for one in (times[-1], ([stream.times[-1], *times])[-2]))
    with pytest.raises(FrequencyError) as told:
        stream.update(np.zeros(len(steps)), times)
    skipped = steps[-1] - len(steps)
    assert f"got {far} after {last}, so some {skipped:,} steps of 'h' would be skipped" in str(told.value)
    assert f"may skip {MOST_SKIPPED:,}" in str(told.value)
    assert str(told.value).endswith("begin anew: detector.stream(series_id)")  # HTTP has its own way out
    assert (told.value.series_id, told.value.field) == ("a", "timestamps")
    assert stored(stream, tmp_path / "after") == before
    assert stream.update([0.5]).points[0].timestamp == pd.Timestamp(START) + pd.Timedelta(hours=650)


def test_a_gap_may_be_as_long_as_what_an_update_may_skip_and_no_longer() -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    with pytest.raises(FrequencyError, match="10,001 steps"):
        stream.update([0.0, 0.0], hours_after(stream, 1, MOST_SKIPPED + 3))
    assert stream.update([0.0, 0.0], hours_after(stream, 1, MOST_SKIPPED + 2)).skipped == MOST_SKIPPED
    new = detector().stream("new")  # has no past: its gaps are those among the first values
    moment = np.datetime64("2030-01-01", "ns")
    with pytest.raises(FrequencyError, match="would be skipped"):
        new.update([0.0, 0.0], [moment, moment + np.timedelta64(MOST_SKIPPED + 2, "h")])
    assert new.update([0.0, 0.0], [moment, moment + np.timedelta64(MOST_SKIPPED + 1, "h")]).skipped == MOST_SKIPPED


def test_the_first_values_long_after_the_fit_begin_without_looking_back_on_it(tmp_path: Path) -> None:
    rows, found = panel(FITTED), detector("autoencoder")
    late = rows.timestamps + np.timedelta64(24 * 3_650, "h")
    stream = found.stream("a")
    update = stream.update(rows.target, late)
    assert update.skipped == 0 and not any(event.kind == "gap" and event.steps > 3 for event in update.events)
    moved = pd.DataFrame({"unique_id": "a", "ds": late, "y": rows.target})
    report = found.score(tsforecast.panel_from_frame(moved, freq="h"))
    np.testing.assert_allclose([one.score for one in update.points], report.score, rtol=1e-3, atol=1e-4)
    again = found.stream("a", state=stream.save(tmp_path))
    assert again.update(rows.target[-1:], late[-1:]).points[0].repeated


def test_a_clock_that_ends_is_a_value_too_far_ahead() -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("1990-01-01", periods=400, freq="MS"), "y": values_of()[:400]})
    stream = WindowEnergy().fit(tsforecast.panel_from_frame(frame, freq="MS")).stream("a")
    stream.update([0.5])
    with pytest.raises(FrequencyError, match="got 2261-05-01T00:00:00 after 2023-05-01"):
        stream.update([0.5], ["2261-05-01"])
    assert stream.rows == 1


@pytest.mark.parametrize("size", [1, 50])
def test_a_series_that_the_fit_has_not_seen_is_judged_once_it_has_a_past(size: int) -> None:
    stream = detector().stream("new")
    rows = panel(0, 300, "new")
    updates = [stream.update(100 + 5 * rows.target[i : i + size], rows.timestamps[i : i + size]) for i in range(0, 300, size)]
    points = points_of(updates)
    scores, first = np.asarray([one.score for one in points]), stream.first_rows
    assert np.isnan(scores[:first]).all() and np.isfinite(scores[first:]).all()
    assert {one.reason for one in points[:first]} == {"too short"}
    at_once = points_of([detector().stream("new").update(100 + 5 * rows.target, rows.timestamps)])
    np.testing.assert_array_equal(scores, [one.score for one in at_once])  # whatever the pieces


def test_a_stream_needs_a_name_where_the_fit_had_several_series() -> None:
    both = pd.concat([pd.DataFrame({"unique_id": i, "ds": panel().timestamps, "y": values_of()}) for i in "ab"])
    fitted = recipe_class("window_energy").tiny().fit(tsforecast.panel_from_frame(both, freq="h"))  # type: ignore[call-arg]  # a detector
    with pytest.raises(OptionError, match="2 series"):
        fitted.stream()  # type: ignore[attr-defined]  # of a detector


# Stop and go on


def test_a_stored_stream_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    rules = AlarmRules(sensitivity=3.0, direction="above", cooldown=5)
    stream, undisturbed = (detector("autoencoder").stream("a", alarms=rules) for _ in range(2))
    feed(undisturbed, FITTED, 860)
    feed(stream, FITTED, 860)  # in the middle of an event
    stream.save(tmp_path)
    again = detector("autoencoder").stream("a", alarms=rules, state=tmp_path)
    left, right = points_of(feed(again, 860, ALL)), points_of(feed(undisturbed, 860, ALL))
    assert [one.p_value for one in left] == pytest.approx([one.p_value for one in right], nan_ok=True)
    assert [one.event_id for one in left] == [one.event_id for one in right]
    assert points_of(feed(again, 850, 852))[0].repeated
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_a_state_of_another_detector_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    stream.save(tmp_path)
    with pytest.raises(ArtifactError, match="by another detector"):
        detector("local_level").stream("a", state=tmp_path)
    (tmp_path / "stream.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="checksum"):
        detector().stream("a", state=tmp_path)
    with pytest.raises(ArtifactError, match="no stored stream"):
        detector().stream("a", state=tmp_path / "nothing")


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = detector().stream("a")
    feed(stream, FITTED, 650)
    before = stored(stream, tmp_path)
    feed(stream, 650, 660)
    monkeypatch.setattr(stream.judge.gaps, "state", lambda: {"first": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        stream.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert detector().stream("a", state=tmp_path).rows == 50


def test_many_values_at_once_are_no_gap() -> None:
    stream = detector().stream("a")
    update = stream.update(np.sin(2 * np.pi * np.arange(120_000) / 24))
    assert update.skipped == 0 and stream.rows == 120_000


def test_a_state_with_another_sensitivity_is_refused(tmp_path: Path) -> None:
    stream = detector().stream("a", sensitivity=1.0)
    feed(stream, FITTED, 650)
    stream.save(tmp_path)
    with pytest.raises(ArtifactError, match=r"sensitivity 1.0, not 5.0"):
        detector().stream("a", sensitivity=5.0, state=tmp_path)
