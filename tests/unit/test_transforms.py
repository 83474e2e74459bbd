"""The table of transforms: what holds for every one of them, also for the wildest panels hypothesis can think of."""

import json
import os
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.transform_cases import EVERY, FILLS, MAPS, NAN, case_id, domain_of, forecast_of, panel_of, panels
from tsforecast.backtest import backtest
from tsforecast.errors import ArtifactError, OptionError, TransformError
from tsforecast.flow import ForecastFlow
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.preprocessing.transforms import TRANSFORMS, Transform, build_transform, transform_from_json

EXAMPLES = settings(max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")), deadline=None)


def test_every_transform_of_the_table_is_among_those_tested_here():
    assert {name for name, _ in EVERY} == set(TRANSFORMS)


def tolerance(fitted, panel):
    """How far from the value that went in the one that comes back may lie, (N,)."""
    allowed = 1e-9 * np.abs(panel.target)
    name = fitted.to_json()["name"]
    if name in ("scale", "deseasonalise"):
        whole = getattr(fitted.recipe, "scope", "series") == "panel"
        groups = panel.offsets[[0, -1]] if whole else panel.offsets
        width = np.fmax.reduceat(panel.target, groups[:-1]) - np.fmin.reduceat(panel.target, groups[:-1])
        return allowed + 1e-9 * np.nan_to_num(np.repeat(width, np.diff(groups)))
    if name == "logit":
        return allowed + 1e-9 * np.repeat(fitted.ceiling - fitted.floor, panel.lengths)
    if name == "yeo_johnson":
        return allowed + 1e-290 * np.repeat(fitted.largest, panel.lengths)  # 1e-300 of a unit of 1e300 is no float
    return allowed


@pytest.mark.parametrize(("name", "options"), MAPS, ids=case_id)
@given(data=st.data())
@EXAMPLES
def test_any_panel_comes_back_as_it_went_in_also_after_json(name, options, data):
    panel = data.draw(panels(*domain_of(name, options)))
    fitted = build_transform(name, **options).fit(panel)
    there = fitted.apply(panel)
    again = transform_from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.apply(panel).target, there.target)
    back = again.invert_panel(there)
    hole = np.isnan(panel.target)
    assert np.isfinite(there.target[~hole]).all()
    np.testing.assert_array_equal(np.isnan(there.target), hole)
    np.testing.assert_array_equal(np.isnan(back.target), hole)
    allowed = tolerance(fitted, panel)
    assert (np.abs(back.target - panel.target) <= allowed)[~hole].all()
    turns = getattr(fitted, "season", 1)  # a season is taken off phase by phase
    for start, end in [(a + phase, b) for a, b in pairwise(panel.offsets) for phase in range(turns)]:
        rows = slice(start, end, turns)  # larger values are larger there, where they differ by more than is allowed
        order = np.argsort(panel.target[rows])
        apart = np.diff(panel.target[rows][order]) > 2 * allowed[rows][order][1:]
        assert (np.diff(there.target[rows][order])[apart] > 0).all()


@pytest.mark.parametrize(("name", "options"), MAPS, ids=case_id)
@given(data=st.data(), values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=7).map(sorted))
@EXAMPLES
def test_any_forecast_comes_back_finite_with_its_quantiles_in_order(name, options, data, values):
    panel = data.draw(panels(*domain_of(name, options)))
    quantiles = build_transform(name, **options).fit(panel).invert(forecast_of(panel, values)).quantiles
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    if "high" in options:
        assert (quantiles >= 0).all() and (quantiles <= 1).all()


@pytest.mark.parametrize(("name", "options"), EVERY, ids=case_id)
@given(data=st.data())
@settings(EXAMPLES, max_examples=25)
def test_series_of_other_names_and_in_another_order_are_treated_alike(name, options, data):
    panel = data.draw(panels(*domain_of(name, options), tame=True))
    fitted = build_transform(name, **options).fit(panel)
    turned = panel.select(np.arange(len(panel))[::-1])
    ids = [f"new {series_id}" if i % 2 else series_id for i, series_id in enumerate(turned.series_ids)]
    later = replace(turned, series_ids=tuple(ids))
    ready = transform_from_json(json.loads(json.dumps(fitted.to_json()))).for_panel(later)
    np.testing.assert_allclose(ready.apply(later).target, fitted.apply(turned).target, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), FILLS, ids=case_id)
@given(data=st.data())
@EXAMPLES
def test_a_fill_touches_no_observed_value_and_leaves_forecasts_alone(name, options, data):
    panel = data.draw(panels(*domain_of(name, options)))
    fitted = build_transform(name, **options).fit(panel)
    there = fitted.apply(panel)
    seen = ~np.isnan(panel.target)
    np.testing.assert_array_equal(there.target[seen], panel.target[seen])
    assert fitted.invert_panel(there) is there
    forecast = forecast_of(panel, [1.0, 2.0])
    assert fitted.invert(forecast) is forecast


@dataclass(frozen=True, kw_only=True)
class Watched(Transform):
    """Another transform, whose fitted numbers are written down."""

    inner: Transform
    fits: list = field(default_factory=list)

    def fit(self, panel):
        fitted = self.inner.fit(panel)
        self.fits.append((fitted.to_json(), fitted.apply(panel).target.tolist()))
        return fitted

    @classmethod
    def fitted_from_json(cls, values):
        raise NotImplementedError


@pytest.mark.parametrize(("name", "options"), EVERY, ids=case_id)
def test_what_comes_after_an_origin_is_in_no_number_of_the_fit_before_it(name, options):
    rng = np.random.default_rng(3)
    panel = panel_of(a=rng.uniform(0.1, 0.8, 12), b=rng.uniform(0.1, 0.8, 10))
    poisoned = panel.target.copy()
    poisoned[[8, 9, 10, 11, 18, 19, 20, 21]] = 0.9  # the last four of each
    found = []
    for one in (panel, panel.with_target(poisoned)):
        watched = Watched(inner=build_transform(name, **options))
        result = backtest(ForecastFlow(transforms=(watched,), model=SeasonalNaive(season=2)), one, horizon=2, folds=2)
        assert len(result.folds) == len(watched.fits) == 2
        found.append(watched.fits)
    (first, second), (poisoned_first, poisoned_second) = found
    assert first == poisoned_first
    assert second != poisoned_second  # the second origin lies two steps into the poison


@pytest.mark.parametrize(("name", "options"), EVERY, ids=case_id)
def test_fitting_leaves_the_panel_alone_and_series_do_not_touch_each_other(name, options):
    panel = panel_of(a=[0.1, 0.25, 0.9, 0.4], b=[0.1, 0.35, 0.2])
    before = panel.target.copy()
    together = build_transform(name, **options).fit(panel).apply(panel).target
    np.testing.assert_array_equal(panel.target, before)
    alone = panel.select([1])
    if options.get("scope") != "panel":
        np.testing.assert_allclose(build_transform(name, **options).fit(alone).apply(alone).target, together[4:], rtol=1e-12)
    else:
        assert not np.allclose(build_transform(name, **options).fit(alone).apply(alone).target, together[4:])


@pytest.mark.parametrize(("name", "options"), [case for case in MAPS if case[1].get("scope") == "panel"], ids=case_id)
def test_a_pooled_transform_gives_later_series_the_numbers_of_the_panel(name, options):
    fitted = build_transform(name, **options).fit(panel_of(a=[1.0, 2.0, 9.0, 4.0], b=[3.0, 5.0, 4.0]))
    later = panel_of(c=[3.0, 5.0, 4.0], d=[2.0, 2.0])
    ready = fitted.for_panel(later)
    shared = ("exponent",) if name in ("box_cox", "yeo_johnson") else fitted.NUMBERS
    for number in shared:
        np.testing.assert_array_equal(getattr(ready, number), getattr(fitted, number)[0])
    np.testing.assert_allclose(ready.invert_panel(ready.apply(later)).target, later.target, rtol=1e-9)


def test_series_that_were_not_fitted_need_for_panel_which_keeps_the_numbers_of_the_others():
    fitted = build_transform("scale").fit(panel_of(a=[1.0, 3.0], b=[10.0, 30.0]))
    later = panel_of(new=[5.0, 9.0], b=[1.0, 1.0])
    with pytest.raises(
        TransformError, match=r"series 'new' is not among the 2 series transform 'scale' was fitted on; use transform"
    ):
        fitted.apply(later)
    np.testing.assert_allclose(fitted.for_panel(later).apply(later).target, [-1, 1, -1.9, -1.9])
    assert fitted.for_panel(panel_of(b=[1.0])) is fitted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("log1p", r"series 'b' has -1.0 at 1 \(1 such values\): log1p needs values of 0 or more"),
        ("box_cox", r"series 'b' has -1.0 .*: Box-Cox needs values above 0; use log1p or yeo_johnson"),
    ],
)
def test_values_outside_the_domain_are_named(name, message):
    with pytest.raises(TransformError, match=message) as caught:
        build_transform(name).fit(panel_of(a=[1.0], b=[2.0, -1.0]))
    assert (caught.value.series_id, caught.value.field) == ("b", "target")
    fitted = build_transform(name).fit(panel_of(a=[1.0], b=[2.0, 3.0]))
    with pytest.raises(TransformError, match=message):  # a history given later
        fitted.apply(panel_of(a=[1.0], b=[2.0, -1.0]))


def test_a_value_outside_the_domain_is_named_with_the_wall_clock_of_its_series():
    panel = panel_of(a=[1.0], b=[2.0, -1.0])
    hours = np.array(["2024-07-01T00", "2024-07-01T00", "2024-07-01T01"], dtype="datetime64[ns]")
    panel = replace(panel, timestamps=hours, freq="h", tz="UTC", zones=("Europe/Berlin", "Asia/Kolkata"))
    with pytest.raises(TransformError, match=r"series 'b' has -1.0 at 2024-07-01T06:30:00 Asia/Kolkata \(1 such values\)"):
        build_transform("log1p").fit(panel)


@pytest.mark.parametrize(("name", "options"), [("scale", {}), ("log1p", {}), ("box_cox", {}), ("yeo_johnson", {}), ("logit", {})])
@pytest.mark.parametrize("value", [1e301, np.inf])
def test_values_whose_sums_are_no_number_are_refused(name, options, value):
    message = rf"series 'b' has {value} at 1 .*: transforms take values up to 1e\+300; change the unit"
    with pytest.raises(TransformError, match=message.replace("1e+301", r"1e\+301")):
        build_transform(name, **options).fit(panel_of(a=[1.0], b=[2.0, value]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scal", {}, "no transform 'scal'; did you mean 'scale'\\?; there are fill, scale, log1p, box_cox, yeo_johnson, logit"),
        (
            "scale",
            {"metod": "zscore"},
            "transform 'scale' has no option 'metod'; did you mean 'method'\\?; options: method, scope",
        ),
        ("scale", {"method": "zscor"}, "transform 'scale' has no method 'zscor'; did you mean 'zscore'\\?"),
        (
            "scale",
            {"scope": "panels"},
            "transform 'scale' has no scope 'panels'; did you mean 'panel'\\?; there are series, panel",
        ),
        (
            "fill",
            {"method": "magic"},
            "transform 'fill' has no method 'magic'; there are linear, seasonal, forward, constant, none",
        ),
        ("box_cox", {"scope": "all"}, "transform 'box_cox' has no scope 'all'"),
        ("yeo_johnson", {"scope": "all"}, "transform 'yeo_johnson' has no scope 'all'"),
        ("logit", {"scope": "all"}, "transform 'logit' has no scope 'all'"),
    ],
)
def test_unknown_transforms_and_options_are_refused_with_the_nearest(name, options, message):
    with pytest.raises(OptionError, match=message):
        build_transform(name, **options)


def test_a_stored_transform_of_another_version_is_refused():
    with pytest.raises(ArtifactError, match=r"no transform 'difference'; this version has fill, scale, log1p, .*: upgrade"):
        transform_from_json({"name": "difference"})


OLD = [  # what the first version stored, and what it made of a = 1, 2, 4, 7 and b = 30, NaN, 10, 11
    ({"name": "fill", "method": "seasonal"}, [[1, 2, 4, 7], [30, 20, 10, 11]]),
    (
        {
            "name": "scale",
            "options": {"method": "robust"},
            "series_ids": ["a", "b"],
            "center": [3.0, 11.0],
            "spread": [2.0480684764112578, 6.826894921370858],
        },
        [
            [-0.9765298489943627, -0.48826492449718134, 0.48826492449718134, 1.9530596979887254],
            [2.783110069633934, NAN, -0.14647947734915442, 0.0],
        ],
    ),
    (
        {"name": "log1p"},
        [
            [0.6931471805599453, 1.0986122886681098, 1.6094379124341003, 2.0794415416798357],
            [3.4339872044851463, NAN, 2.3978952727983707, 2.4849066497880004],
        ],
    ),
    (
        {
            "name": "box_cox",
            "options": {"scope": "panel"},
            "series_ids": ["a", "b"],
            "exponent": [-0.20576940299826807, -0.20576940299826807],
            "geometric_mean": [2.7355647997347607, 14.888055529538276],
            "largest": [7.0, 30.0],
        },
        [
            [-1.118111057129281, -0.3235028692675276, 0.36548293414518923, 0.8543270117337384],
            [0.6524747769616768, NAN, -0.41472345608284544, -0.3122875194540474],
        ],
    ),
]


@pytest.mark.parametrize(("stored", "made"), OLD, ids=[stored["name"] for stored, _ in OLD])
def test_a_transform_stored_by_an_older_version_does_what_it_did(stored, made):
    panel = panel_of(a=[1.0, 2.0, 4.0, 7.0], b=[30.0, NAN, 10.0, 11.0])
    old = transform_from_json(stored)
    np.testing.assert_allclose(old.apply(panel).target, np.ravel(made), rtol=1e-14)
    fresh = build_transform(stored["name"], **stored.get("options", {"method": "seasonal"} if stored["name"] == "fill" else {}))
    np.testing.assert_allclose(fresh.fit(panel).apply(panel).target, np.ravel(made), rtol=1e-4)  # and a fit today finds it again
    later = panel_of(c=[3.0, 5.0, 4.0])
    assert np.isfinite(old.for_panel(later).apply(later).target).all()


def test_a_chain_fits_applies_and_inverts_exactly_also_after_json():
    panel = panel_of(season=3, a=[1.0, 5.0, NAN, 2.0, 6.0, 30.0, NAN], b=[400.0, 100.0, 900.0, 200.0])
    chain = [("fill", {"method": "seasonal"}), ("log1p", {}), ("scale", {"method": "robust"})]
    fitted, there = [], panel
    for name, options in chain:
        fitted.append(build_transform(name, **options).fit(there))
        there = fitted[-1].apply(there)
    assert np.isfinite(there.target).all()
    back, forecast = there, forecast_of(panel, [-1.0, 0.0, 2.0])
    for one in reversed([transform_from_json(json.loads(json.dumps(one.to_json()))) for one in fitted]):
        back, forecast = one.invert_panel(back), one.invert(forecast)
    np.testing.assert_allclose(back.target, fitted[0].apply(panel).target, rtol=1e-9)
    median = np.median([1, 5, 3.5, 2, 6, 30, 2])  # 3.5: no season before it, so half way; the last 2: a season before
    assert forecast.quantiles[0, 0, 1] == pytest.approx(median)
