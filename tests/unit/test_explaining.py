"""What an event would have been without a channel: planted anomalies, of which the guilty channel is known."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.anomaly.report import AnomalyReport, Event
from tsforecast.models.channel_pca import ChannelPCA
from tsforecast.models.detector import Detector
from tsforecast.models.ensemble import Ensemble
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.isolation_forest import IsolationForest
from tsforecast.models.pca_remainder import PCARemainder
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.panel import FloatArray, Panel

ROWS, FITTED, STRUCK = 1500, 1000, 1250
HOURS = pd.date_range("2026-01-01", periods=ROWS, freq="h")
NAMES = ("a", "b", "c", "d")
KINDS = ("spike", "level", "shape", "flat")
RECIPES: dict[str, Detector] = {
    "window_energy": WindowEnergy(),
    "pca_remainder": PCARemainder(),
    "isolation_forest": IsolationForest(trees=30),
    "channel_pca": ChannelPCA(),
    "ensemble": Ensemble(members=("pca_remainder", "shape_neighbour", "local_level")),
}
UNSEEN = {("isolation_forest", "spike"), ("window_energy", "flat"), ("channel_pca", "flat")}  # or hardly
ALARM = 50.0  # severity of one step in a thousand


def ordinary() -> FloatArray:
    day = 2 * np.pi * np.arange(ROWS)[:, None] / 24
    noise = np.random.default_rng(0).normal(size=(ROWS, 4))
    found: FloatArray = np.array([10.0, 200.0, 5.0, 1.0]) * (np.sin(day + np.array([0.0, 0.6, 2.2, 3.8])) + 0.15 * noise)
    return found


def struck(kind: str, channel: int, at: int = STRUCK) -> FloatArray:
    values = ordinary()
    scale, rows = values[:FITTED, channel].std(), slice(at, at + 60)
    if kind == "spike":
        values[at, channel] += 6 * scale
    elif kind == "level":
        values[rows, channel] += 4 * scale
    elif kind == "shape":
        values[rows, channel] = 1.4 * scale * np.sign(np.sin(2 * np.pi * np.arange(60) / 8))
    else:
        values[rows, channel] = values[at, channel] + 1.2 * scale
    return values


def panel_of(values: FloatArray, first: int = 0) -> Panel:
    frame = pd.DataFrame(values[first:], columns=list(NAMES)).assign(ds=HOURS[first : len(values)])
    return tsforecast.panel_from_frame(frame, freq="h", target_col="a", past_covariates=list(NAMES[1:]))


@cache
def fitted(name: str) -> FittedDetector:
    found: FittedDetector = RECIPES[name].fit(panel_of(ordinary()[:FITTED]))
    return found


def worst(report: AnomalyReport) -> Event:
    return max((event for event in report.events if event.kind != "gap"), key=lambda event: event.peak_score)


def without(event: Event) -> dict[str, float]:
    return {one.name: one.severity_without for one in event.channels if one.severity_without is not None}


# With and without the guilty channel


@cache
def report_of_ordinary(name: str, *, revised: bool) -> AnomalyReport:
    return fitted(name).score(panel_of(ordinary()), revised=revised, explain=False)


@pytest.mark.parametrize("revised", [False, True], ids=["causal", "revised"])
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in RECIPES for kind in KINDS if (name, kind) not in UNSEEN])
def test_without_the_guilty_channel_it_is_what_it_was_and_without_another_all_is_the_same(
    name: str, kind: str, revised: bool
) -> None:
    guilty = KINDS.index(kind)
    event = worst(fitted(name).score(panel_of(struck(kind, guilty)), since=HOURS[FITTED].isoformat(), revised=revised))
    assert event.severity > ALARM and event.channels[0].name == NAMES[guilty]
    found = without(event)
    never = np.nanmax(report_of_ordinary(name, revised=revised).severity[event.first_row : event.last_row + 1])
    assert found.pop(NAMES[guilty]) <= never + 10  # what the ordinary series had there
    assert event.severity > never + 10
    if name != "channel_pca":  # what a relation alone tells is gone without either side of it
        assert found and min(found.values()) > event.severity - 10


def test_an_event_of_two_channels_stays_one_without_either() -> None:
    values = struck("level", 0)
    values[:, 3] = struck("level", 3)[:, 3]
    event = worst(fitted("window_energy").score(panel_of(values), since=HOURS[FITTED].isoformat()))
    found = without(event)
    assert {"a", "d"} <= set(found) and min(found.values()) > event.severity - 10


def test_no_channel_makes_an_event_more_severe_than_it_was() -> None:
    for kind in KINDS:
        for event in fitted("pca_remainder").score(panel_of(struck(kind, 1)), sensitivity=5.0).events:
            assert all(0 <= one <= event.severity for one in without(event).values())


def test_a_channel_that_alone_is_observed_leaves_nothing_behind() -> None:
    values = struck("level", 2)
    values[STRUCK - 50 :, [0, 1, 3]] = np.nan
    event = worst(fitted("window_energy").score(panel_of(values), since=HOURS[FITTED].isoformat()))
    assert event.severity > ALARM and without(event)["c"] < 10


@pytest.mark.parametrize("kind", ["spike", "level"])
def test_an_event_among_the_first_rows_is_told_from_held_out_scores(kind: str) -> None:
    detector, values = fitted("pca_remainder"), struck(kind, 1, FITTED + 3)
    values[:, 0] = struck(kind, 0, FITTED + 3)[:, 0]
    values[:, 2] = struck(kind, 2, FITTED + 3)[:, 2]
    both = worst(detector.score(panel_of(values, first=FITTED)))
    assert both.first_row < 16 and min(without(both).values()) > both.severity - 10
    event = worst(detector.score(panel_of(struck(kind, 1, FITTED + 3), first=FITTED)))
    assert event.severity > ALARM and without(event)["b"] < 0.8 * ALARM


def test_a_stream_says_the_same_as_a_batch() -> None:
    values, detector = struck("level", 1), fitted("pca_remainder")
    batch = worst(detector.score(panel_of(values, FITTED)))
    stream, rows = detector.stream(), panel_of(values, FITTED)
    update = stream.update(values[FITTED:], rows.timestamps)
    event = stream.explained(next(one for one in update.events if one.id == batch.id))
    assert without(event) == pytest.approx(without(batch), abs=5)


def test_one_channel_alone_has_no_severity_without_it() -> None:
    frame = pd.DataFrame({"ds": HOURS, "y": struck("level", 0)[:, 0]})
    panel = tsforecast.panel_from_frame(frame, freq="h")
    found = WindowEnergy().fit(panel.rows(np.arange(ROWS) < FITTED)).score(panel, since=HOURS[FITTED].isoformat())
    assert [one.severity_without for one in worst(found).channels] == [None]


# What was expected


@pytest.mark.parametrize("kind", ["spike", "level"])
def test_what_was_expected_of_the_odd_channel_is_near_to_what_it_would_have_been(kind: str) -> None:
    values, detector = struck(kind, 1), fitted("pca_remainder")
    first = worst(detector.score(panel_of(values), since=HOURS[FITTED].isoformat())).channels[0]
    assert first.value is not None and first.expected is not None
    row = int(np.flatnonzero(values[:, 1] == first.value)[0])
    away, planted = abs(first.expected - ordinary()[row, 1]), abs(first.value - ordinary()[row, 1])
    assert planted > 0 and away < 0.4 * planted
