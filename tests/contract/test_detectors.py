"""What every registered detector promises. A new detector is tested by being in the table of models.

A promise that a detector cannot keep by its nature stands in an exemption table here, with the reason.
"""

import json
import pickle
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import tsforecast
from tsforecast.errors import CovariateError, FrequencyError, HistoryTooShort, OptionError, SchemaError
from tsforecast.models.base import Epoch
from tsforecast.models.detector import Rows, channel_values, rows_of
from tsforecast.models.fitted_detector import FittedDetector, load_detector
from tsforecast.models.registry import build_detector, detector_class
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

QUIET = TrainConfig(accelerator="cpu", threads=1, workers=1, progress=False)
TRAIN = replace(QUIET, max_epochs=4, steps_per_epoch=25, batch_size=128, learning_rate=5e-3)
MOST_STEPS = 500  # of training a tiny network: some 2 ms each
SEASON = 24
START = np.datetime64("2024-01-01", "ns")
HOUR = np.timedelta64(3_600_000_000_000, "ns")
LATER = np.datetime64("2025-07-01", "ns")  # not right behind any fit

CANNOT_SEE = {  # (detector, what was planted) -> why it is no less ordinary to it
    ("window_energy", "shape"): "values in another order have the same squares",
    ("channel_pca", "shape"): "of one channel it sees the size of single values, and these are in another order",
    ("local_level", "spike"): "one step is a small part of the mean of a window",
    ("local_level", "shape"): "values in another order have the same mean",
    ("isolation_forest", "spike"): "one step of a window is one of the many that a tree may cut",
}
# Their networks multiply matrices of 32 bits, whose last digits depend on how many windows are worked on together.
SINGLE_PRECISION = ("autoencoder", "ensemble", "forecast_residual", "lstm_autoencoder", "vae")


def ordinary(rows: int, *, level: float = 0.0, seed: int = 0) -> FloatArray:
    """A day that rises fast and falls slowly, with noise, (rows,)."""
    hours = np.arange(rows) * 2 * np.pi / SEASON
    wave = 2.0 * np.sin(hours) + np.sin(2 * hours)
    return level + wave + np.random.default_rng(seed).normal(0, 0.25, rows)


def panel_of(series: Sequence[FloatArray], *, ids: Sequence[str] = (), start: np.datetime64 = START) -> Panel:
    """Hourly series (T,), or (T, C) with C - 1 further channels, that start together."""
    columns = [values if values.ndim == 2 else values[:, None] for values in series]
    values = np.concatenate(columns)
    channels = values.shape[1]
    return Panel(
        series_ids=tuple(ids) or tuple(f"s{i}" for i in range(len(series))),
        offsets=np.cumsum([0, *(len(one) for one in columns)]).astype(np.int64),
        timestamps=np.concatenate([start + HOUR * np.arange(len(one)) for one in columns]),
        target=values[:, 0].copy(),
        freq="h",
        season=SEASON,
        past_covariates=values[:, 1:].copy() if channels > 1 else None,
        past_covariate_names=tuple(f"c{c}" for c in range(1, channels)),
    )


@lru_cache
def usual_panel() -> Panel:
    """Three series of different length and level; arrays of a panel are read-only, so tests may share it."""
    return panel_of([ordinary(rows, level=10.0 * i, seed=i) for i, rows in enumerate((600, 500, 560))])


@lru_cache
def wide_panel() -> Panel:
    """One series of three channels."""
    return panel_of([np.stack([ordinary(500, level=5.0 * c, seed=10 + c) for c in range(3)], axis=1)])


def fit(name: str, panel: Panel, **how: object) -> FittedDetector:
    found: FittedDetector = detector_class(name).tiny().fit(panel, seed=3, train=TRAIN, **how)
    return found


@lru_cache
def fitted(name: str) -> FittedDetector:
    """`tiny()` fitted on the usual panel; detectors are immutable, so tests may share it."""
    return fit(name, usual_panel())


@lru_cache
def fitted_wide(name: str) -> FittedDetector:
    """`tiny()` fitted on three channels."""
    return fit(name, wide_panel())


@pytest.fixture(params=tsforecast.available_models("anomaly"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_same(name: str, found: FloatArray, wanted: FloatArray) -> None:
    """Equal to rounding, and NaN at the same places."""
    near = 1e-4 if name in SINGLE_PRECISION else 1e-9
    np.testing.assert_allclose(found, wanted, rtol=near, atol=near * max(float(np.nanmax(np.abs(wanted), initial=0.0)), 1.0))


def standardised(name: str, panel: Panel, series: int) -> Rows:
    scale = fitted(name).memories[panel.series_ids[series]].scale
    return rows_of(panel, series, scale.standardise(channel_values(panel, series)))


def span(panel: Panel, series: int) -> slice:
    return slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))


def with_values(panel: Panel, series: int, first: int, values: FloatArray | float) -> Panel:
    """The panel with other values of one series from its row `first` on."""
    target = panel.target.copy()
    at = int(panel.offsets[series]) + first
    target[at : at + np.size(values)] = values
    return panel.with_target(target)


# What comes out


def test_evidence_has_a_place_for_each_kind_step_and_channel_and_is_never_negative(name: str) -> None:
    core, rows = fitted(name).core, standardised(name, usual_panel(), 0)
    found = core.evidence(rows)
    shape = (len(core.kinds), len(rows), 1)
    assert found.causal.shape == found.revised.shape == shape
    assert found.expected.shape == found.revised_expected.shape == (len(rows), 1)
    for part in (found.causal, found.revised):
        assert np.nanmin(part) >= 0
        assert np.isfinite(part[:, core.reach + 1 : len(rows) - core.delay]).all()
    assert core.reach >= 0 and core.delay >= 0 and core.width >= 1 and len(set(core.kinds)) == len(core.kinds)


def test_a_history_that_does_not_continue_the_fit_begins_as_it_goes_on(name: str) -> None:
    detector = fitted(name)
    width = detector.core.width
    later = panel_of([ordinary(600, seed=50 + seed) for seed in range(4)], ids=["s0", "s1", "s2", "s3"], start=LATER)
    for series in range(4):
        score = detector.series_scores(later, series, detector.memories["s0"]).causal
        first = int(np.flatnonzero(np.isfinite(score))[0])
        assert np.nanmax(score[first : first + 2 * width]) < 2.5 * np.nanmax(score[first + 2 * width :])


def test_a_few_missing_steps_are_no_anomaly_of_the_steps_behind_them(name: str) -> None:
    detector = fitted(name)
    width = detector.core.width
    missing = max(width // 6, 1)
    for seed in range(4):
        values = ordinary(600, seed=60 + seed)
        holed = np.where(np.arange(600) // missing == 400 // missing, np.nan, values)
        whole, found = (
            detector.series_scores(panel_of([some], ids=["s0"], start=LATER), 0, detector.memories["s0"])
            for some in (values, holed)
        )
        assert np.nanmax(found.causal[400:]) < 1.5 * np.nanmax(whole.causal) + 1.0
        assert np.nanmax(found.revised) < 1.5 * np.nanmax(whole.revised) + 1.0


def test_where_a_third_is_always_missing_windows_without_it_are_judged(name: str, tmp_path: Path) -> None:
    holed = ordinary(1000, seed=7)
    holed[np.random.default_rng(7).random(1000) < 0.33] = np.nan
    detector = fit(name, panel_of([holed[:600]]))
    assert detector.facts.least_seen == pytest.approx(0.8 * 0.67, abs=0.03)
    found = detector.series_scores(panel_of([holed[600:]], ids=["s0"], start=START + 600 * HOUR), 0, detector.memories["s0"])
    assert np.isfinite(found.causal[np.isfinite(holed[600:])]).mean() > 0.6  # some windows of 16 have fewer
    assert load_detector(detector.save(tmp_path / "d")).core.least_seen == detector.facts.least_seen


def test_every_member_judges_windows_as_full_as_the_whole_does(name: str) -> None:
    core = fitted(name).core
    assert {one.least_seen for one in (core, *getattr(core, "cores", ()))} == {fitted(name).facts.least_seen}


def test_rows_behind_the_fit_have_the_scores_that_they_have_behind_the_whole_history(name: str) -> None:
    detector, history = fitted(name), usual_panel().select([0])
    later = ordinary(900, seed=0)[600:]
    alone = panel_of([later], ids=["s0"], start=START + 600 * HOUR)
    whole = panel_of([np.concatenate([history.target, later])], ids=["s0"])
    memory = detector.memories["s0"]
    short, long = (detector.series_scores(panel, 0, memory) for panel in (alone, whole))
    assert_same(name, short.causal, long.causal[600:])
    assert_same(name, short.revised, long.revised[600:])


def test_the_same_panel_and_seed_give_the_same_scores(name: str) -> None:
    for revised in (False, True):
        first, again = (one.scores(usual_panel(), revised=revised) for one in (fitted(name), fit(name, usual_panel())))
        np.testing.assert_array_equal(first, again)
        assert np.isfinite(first).mean() > 0.5


def test_a_causal_score_does_not_change_when_later_rows_do(name: str) -> None:
    panel, at = usual_panel(), 430
    rng = np.random.default_rng(5)
    later = with_values(panel, 0, at, rng.normal(50.0, 20.0, 600 - at))
    before, after = (fitted(name).scores(one, revised=False)[span(panel, 0)] for one in (panel, later))
    assert_same(name, after[:at], before[:at])
    assert np.abs(after[at:] - before[at:]).max() > 1.0  # … and this one has to


def test_a_causal_score_does_not_change_when_rows_are_added(name: str) -> None:
    panel = usual_panel()
    shorter = panel.without_last(100)
    for series in range(len(panel)):
        whole = fitted(name).scores(panel, revised=False)[span(panel, series)]
        assert_same(name, fitted(name).scores(shorter, revised=False)[span(shorter, series)], whole[:-100])


@pytest.mark.parametrize("newest", [1, 7, 90])
def test_the_newest_rows_alone_have_the_evidence_they_have_among_all(name: str, newest: int) -> None:
    core, panel = fitted(name).core, with_values(usual_panel(), 0, 570, np.full(4, np.nan))
    rows = standardised(name, panel, 0)
    whole = core.evidence(rows)
    causal, expected = core.causal(rows.last(newest + core.reach), newest)
    assert causal.shape == (len(core.kinds), newest, 1) and expected.shape == (newest, 1)
    assert_same(name, causal, whole.causal[:, -newest:])
    assert_same(name, expected, whole.expected[-newest:])


def test_revised_evidence_is_final_after_the_delay(name: str) -> None:
    core, rows = fitted(name).core, standardised(name, usual_panel(), 0)
    whole, early = core.evidence(rows), core.evidence(rows.first(500))
    final = 500 - core.delay
    assert final > 200, "the series are too short to show it"
    assert_same(name, early.revised[:, :final], whole.revised[:, :final])


def test_rows_right_after_the_fit_look_back_into_it(name: str) -> None:
    panel = usual_panel()
    past = panel.without_last(60)
    detector = fit(name, past)
    new = panel.tail(60)
    for series in range(len(panel)):
        whole = detector.scores(panel, revised=False)[span(panel, series)]
        assert_same(name, detector.scores(new, revised=False)[span(new, series)], whole[-60:])


# What it finds


def planted(kind: str, rows: FloatArray, at: int) -> FloatArray:
    found, deviation = rows.copy(), float(rows.std())
    if kind == "spike":
        found[at] += 8 * deviation
    elif kind == "level shift":
        found[at : at + 2 * SEASON] += 8 * deviation
    else:  # the days run backwards
        found[at : at + 2 * SEASON] = found[at : at + 2 * SEASON][::-1]
    return found


@pytest.mark.parametrize("kind", ["spike", "level shift", "shape"])
def test_what_is_planted_scores_higher_than_nearly_all_ordinary_steps(name: str, kind: str) -> None:
    if (name, kind) in CANNOT_SEE:
        pytest.skip(CANNOT_SEE[name, kind])
    panel, at = usual_panel(), 510
    struck = panel.with_target(np.concatenate([planted(kind, panel.target[:600], at), panel.target[600:]]))
    for revised in (False, True):
        usual = fitted(name).scores(panel, revised=revised)[:600]
        found = fitted(name).scores(struck, revised=revised)[at : at + 2 * SEASON]
        assert np.nanmax(found) > np.nanquantile(usual, 0.99)


def test_an_anomaly_in_one_channel_of_three_is_found_and_in_that_channel(name: str) -> None:
    panel, detector = wide_panel(), fitted_wide(name)
    assert detector.facts.channels == ("y", "c1", "c2")
    assert panel.past_covariates is not None
    others = panel.past_covariates.copy()
    others[420, 1] += 8 * others[:, 1].std()
    struck = replace(panel, past_covariates=others)
    usual = detector.scores(panel, revised=False)
    assert detector.scores(struck, revised=False)[420 : 420 + SEASON].max() > np.nanquantile(usual, 0.99)
    memory = detector.memories["s0"]
    channels = (
        detector.series_scores(struck, 0, memory).causal_channels - detector.series_scores(panel, 0, memory).causal_channels
    )
    assert np.nanmax(channels[:, 2]) > 10 * max(float(np.nanmax(np.abs(channels[:, :2]))), 1e-6) > 0


# What it does not depend on


def test_neither_the_order_of_series_nor_what_is_scored_beside_them_matters(name: str) -> None:
    panel = usual_panel()
    turned = panel.select([2, 0, 1])
    for revised in (False, True):
        whole, other = (fitted(name).scores(one, revised=revised) for one in (panel, turned))
        for place, series in enumerate((2, 0, 1)):
            alone = fitted(name).scores(panel.select([series]), revised=revised)
            assert_same(name, other[span(turned, place)], whole[span(panel, series)])
            assert_same(name, alone, whole[span(panel, series)])


def test_fitting_and_scoring_leave_the_panel_and_global_chance_alone(name: str) -> None:
    panel = wide_panel()
    before = (panel.target.copy(), np.array(panel.past_covariates), panel.timestamps.copy())
    np.random.seed(11)
    fit(name, panel).scores(panel)
    drawn = np.random.random()
    np.random.seed(11)
    assert drawn == np.random.random()
    for kept, now in zip(before, (panel.target, panel.past_covariates, panel.timestamps), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_units_of_the_series_do_not_matter(name: str) -> None:
    panel = usual_panel()
    other = panel.with_target(64.0 * panel.target - 5e3)
    plain, scaled = (fit(name, one).scores(one, revised=False) for one in (panel, other))
    seen = np.isfinite(plain)
    assert np.corrcoef(plain[seen], scaled[seen])[0, 1] > 0.999


def test_labelled_anomalies_are_neither_learnt_from_nor_calibrated_on(name: str) -> None:
    panel = usual_panel()
    labels = np.zeros(len(panel.target), dtype=np.int64)
    rng = np.random.default_rng(9)
    for first in (100, 520):  # among the rows that are learnt from, and among those that calibrate
        labels[first : first + 6] = 1
    probe = panel_of([ordinary(300, seed=77)], ids=["s0"], start=START + HOUR * 9000)
    found = []
    for scale in (1.0, 1e3):
        garbage = panel.with_target(np.where(labels == 1, scale * rng.normal(size=len(labels)), panel.target))
        found.append(fit(name, garbage, labels=labels).scores(probe))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


# Faults in the data


def test_missing_rows_have_no_score_and_leave_the_others_theirs(name: str) -> None:
    panel = usual_panel()
    holes = panel.target.copy()
    gone = np.zeros(len(holes), dtype=bool)
    for first in (470, 500, 533):
        gone[first : first + 3] = True
    holes[gone] = np.nan
    holed = panel.with_target(holes)
    for revised in (False, True):
        usual, found = (fitted(name).scores(one, revised=revised) for one in (panel, holed))
        assert np.isnan(found[gone]).all()
        assert np.isfinite(found[np.isfinite(usual) & ~gone]).all()


def ends_well(call: Callable[[], FloatArray], rows: int) -> FloatArray:
    found = call()
    assert found.shape == (rows,)
    assert not np.isinf(found).any()
    return found


@pytest.mark.parametrize("series_id", ["s0", "new"])
def test_series_without_values_without_change_or_of_one_row_have_a_defined_score(name: str, series_id: str) -> None:
    for revised in (False, True):
        for values in (np.full(80, np.nan), np.full(1, np.nan)):
            faulty = panel_of([values], ids=[series_id])
            found = ends_well(lambda one=faulty, how=revised: fitted(name).scores(one, revised=how), len(values))
            assert np.isnan(found).all()
        for values in (np.full(80, 4.0), np.zeros(80), np.ones(1), np.full(2, 7.0)):
            faulty = panel_of([values], ids=[series_id])
            ends_well(lambda one=faulty, how=revised: fitted(name).scores(one, revised=how), len(values))


def test_faulty_series_do_not_keep_the_others_from_being_learnt(name: str) -> None:
    series = [ordinary(500), np.full(300, np.nan), np.full(300, 7.0), np.ones(1), np.where(np.arange(400) % 2, np.nan, 3.0)]
    panel = panel_of(series, ids=["usual", "empty", "flat", "short", "half"])
    detector = fit(name, panel)
    scores = ends_well(lambda: detector.scores(panel), len(panel.target))
    assert np.isfinite(scores[:500]).mean() > 0.5
    assert np.isnan(scores[500:800]).all()


def test_a_panel_without_a_series_long_enough_is_refused_with_what_it_has_and_needs(name: str) -> None:
    for values in (np.ones(1), ordinary(3), ordinary(11)):
        with pytest.raises(HistoryTooShort) as caught:
            fit(name, panel_of([values]))
        assert caught.value.have < caught.value.need


def test_a_panel_without_any_value_is_refused_or_judges_nothing(name: str) -> None:
    empty = panel_of([np.full(300, np.nan)])
    try:
        detector = fit(name, empty)
    except HistoryTooShort as error:
        assert error.have == 0
    else:
        assert np.isnan(detector.scores(empty)).all()


def test_a_series_that_the_fit_has_not_seen_is_judged_on_a_scale_of_its_own(name: str) -> None:
    values = ordinary(500, level=-300.0, seed=8)
    values[450] += 8 * values.std()
    scores = fitted(name).scores(panel_of([values], ids=["new"]), revised=False)
    assert np.nanmax(scores[450 : 450 + SEASON]) > np.nanquantile(scores, 0.97)


# What is refused


def test_an_infinite_value_is_refused_by_the_name_of_its_series(name: str) -> None:
    wrong = with_values(usual_panel(), 1, 20, np.inf)
    for call in (lambda: fit(name, wrong), lambda: fitted(name).scores(wrong)):
        with pytest.raises(SchemaError, match="series 's1' has an infinite value in 'y', row 20") as caught:
            call()
        assert caught.value.series_id == "s1"


def test_series_of_another_frequency_are_refused(name: str) -> None:
    with pytest.raises(FrequencyError, match="fitted on steps of 'h', these series step by '30min'"):
        fitted(name).scores(replace(usual_panel(), freq="30min"))


def test_new_and_missing_channels_are_refused_by_name(name: str) -> None:
    with pytest.raises(CovariateError, match=r"fitted on channels \['y'\], these series have \['y', 'c1', 'c2'\]"):
        fitted(name).scores(wide_panel())
    wide = fitted_wide(name)
    with pytest.raises(CovariateError, match=r"fitted on channels \['y', 'c1', 'c2'\], these series have \['y'\]"):
        wide.scores(usual_panel())


def test_labels_of_another_length_or_kind_are_refused(name: str) -> None:
    rows = len(usual_panel().target)
    for labels in (np.zeros(rows - 1, dtype=np.int64), np.full(rows, 2)):
        with pytest.raises(OptionError) as caught:
            fit(name, usual_panel(), labels=labels)
        assert caught.value.field == "labels"


def test_an_unknown_option_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=f"model '{name}' has no option 'windw'"):
        build_detector(name, windw=3)


# Files


def test_save_then_load_gives_the_same_scores_without_a_pickle(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a detector must not pickle anything")

    for entrance in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, entrance, refuse)
    folder = fitted(name).save(tmp_path / name)
    assert sorted(path.name for path in folder.rglob("*")) == ["manifest.json", "weights.safetensors"]
    for path in folder.iterdir():
        with pytest.raises(ValueError):  # no pickle, in whatever words pickletools puts it
            list(pickletools.genops(path.read_bytes()))
    json.loads((folder / "manifest.json").read_text())
    loaded = load_detector(folder)
    assert loaded.recipe == fitted(name).recipe and loaded.facts == fitted(name).facts
    assert (loaded.core.kinds, loaded.core.reach, loaded.core.delay, loaded.core.width) == (
        fitted(name).core.kinds,
        fitted(name).core.reach,
        fitted(name).core.delay,
        fitted(name).core.width,
    )
    for revised in (False, True):
        np.testing.assert_array_equal(
            loaded.scores(usual_panel(), revised=revised), fitted(name).scores(usual_panel(), revised=revised)
        )
    again = loaded.save(tmp_path / "again")
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_tiny_fits_in_few_steps_with_no_options_given(name: str) -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    steps = [0]

    def count(*_: object) -> None:
        steps[0] += 1

    handle = register_optimizer_step_post_hook(count)
    log: list[Epoch] = []
    try:
        detector_class(name).tiny().fit(panel_of([ordinary(200)]), train=QUIET, callbacks=[log.append])
    finally:
        handle.remove()
    assert steps[0] <= MOST_STEPS
    assert bool(log) == detector_class(name).about.needs_training


def test_facts_say_what_the_fit_has_seen(name: str) -> None:
    facts, about = fitted(name).facts, detector_class(name).about
    assert (facts.freq, facts.season, facts.channels, facts.series, facts.seed) == ("h", SEASON, ("y",), 3, 3)
    assert facts.observations == 600 + 500 + 560
    assert about.source and about.minimal_history and about.family
