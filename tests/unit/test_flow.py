"""The flow: what the model sees is what the transforms made, and what the caller gets is undone again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.errors import ArtifactError, HorizonError, OptionError, TransformError
from tsforecast.flow import FittedFlow, ForecastFlow, load_model
from tsforecast.forecast import Forecast
from tsforecast.models.base import About, Epoch, Facts, Forecaster, Predictor
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.postprocess import clip_below_zero, round_to_integers
from tsforecast.preprocessing.transforms import Fill, Log1p, Scale


def panel_of(**series: Sequence[float]) -> Panel:
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-01-01", periods=len(y), freq="D"), "y": y})
            for name, y in series.items()
        ]
    )
    return tsforecast.panel_from_frame(frame, freq="D", season=2)


@dataclass(frozen=True, kw_only=True)
class Recorder(Forecaster):
    """Forecasts the last value of what it was shown, and remembers everything it was given."""

    name: ClassVar[str] = "recorder"
    about: ClassVar[About] = About(family="fake", scope="local", source="this file", minimal_history="1 row")
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def tiny(cls) -> "Recorder":
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return RecorderPredictor

    def fit(self, panel: Panel, **options: Any) -> "RecorderPredictor":
        self.given["fit"] = {"panel": panel, **options}
        return RecorderPredictor(self, Facts.of(panel, horizon=options["horizon"], seed=options["seed"]))


class RecorderPredictor(Predictor):
    def __init__(self, recipe: Recorder, facts: Facts) -> None:
        self.recipe, self.facts = recipe, facts

    def predict(self, panel: Panel, **options: Any) -> Forecast:
        self.recipe.given["predict"] = {"panel": panel, **options}
        steps = self.check_request(panel, options["horizon"])
        last = panel.target[panel.offsets[1:] - 1]
        moments = panel.last_timestamps()[:, None] + np.arange(1, steps + 1) * np.timedelta64(1, "D")
        levels = tuple(options["quantile_levels"])
        quantiles = last[:, None, None] + np.zeros((1, steps, 1)) + (np.array(levels) - 0.5)
        return Forecast(series_ids=panel.series_ids, timestamps=moments, quantile_levels=levels, quantiles=quantiles)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(cls, recipe: Any, facts: Facts, arrays: Any, values: Any) -> "RecorderPredictor":
        return cls(recipe, facts)


def last(flow: FittedFlow, panel: Panel) -> FloatArray:
    return flow.predict(panel, quantile_levels=(0.5,)).median[:, 0]


def test_the_model_sees_what_the_transforms_made_one_after_the_other() -> None:
    e = np.e
    panel = panel_of(a=[0.0, e - 1, e**2 - 1, np.nan])
    model = Recorder()
    ForecastFlow(transforms=(Fill(method="forward"), Log1p(), Scale(method="minmax")), model=model).fit(panel, horizon=1)
    np.testing.assert_allclose(model.given["fit"]["panel"].target, [0.0, 0.5, 1.0, 1.0])  # logs 0, 1, 2, 2, then to [0, 1]
    np.testing.assert_array_equal(panel.target[:3], [0.0, e - 1, e**2 - 1])


def test_a_forecast_is_undone_in_the_other_order() -> None:
    # logs 0, 1, 2 become 0, 0.5, 1; the model forecasts 1, and 1.4 at the level 0.9: 2 * 1.4 = 2.8 in logs.
    panel = panel_of(a=[0.0, np.e - 1, np.e**2 - 1])
    flow = ForecastFlow(transforms=(Log1p(), Scale(method="minmax")), model=Recorder()).fit(panel, horizon=2)
    quantiles = flow.predict(panel, quantile_levels=(0.5, 0.9)).quantiles
    np.testing.assert_allclose(quantiles[0], [[np.e**2 - 1, np.e**2.8 - 1]] * 2)


def test_each_series_has_its_own_numbers_and_a_stranger_gets_some_from_its_history() -> None:
    panel = panel_of(a=[0.0, 10.0], b=[100.0, 300.0])
    model = Recorder()
    flow = ForecastFlow(transforms=(Scale(method="minmax"),), model=model).fit(panel, horizon=1)
    assert last(flow, panel).tolist() == [10.0, 300.0]
    longer = panel_of(b=[100.0, 300.0, 500.0], stranger=[-4.0, 0.0, -2.0])
    assert last(flow, longer).tolist() == [500.0, -2.0]
    # b keeps the numbers of the fit (100 -> 0, 300 -> 1), the stranger has its own (-4 -> 0, 0 -> 1).
    np.testing.assert_allclose(model.given["predict"]["panel"].target, [0.0, 1.0, 2.0, 0.0, 1.0, 0.5])


def test_what_the_caller_asks_reaches_the_model() -> None:
    panel, model, train, future = panel_of(a=[1.0, 2.0]), Recorder(), TrainConfig(max_epochs=3), np.zeros((1, 1, 0))
    heard: list[Epoch] = []
    flow = ForecastFlow(model=model).fit(panel, horizon=4, seed=9, train=train, callbacks=[heard.append])
    assert model.given["fit"] == {"panel": panel, "horizon": 4, "seed": 9, "train": train, "callbacks": [heard.append]}
    flow.predict(panel, horizon=1, quantile_levels=(0.2, 0.7), future=future)
    assert model.given["predict"] == {"panel": panel, "horizon": 1, "quantile_levels": (0.2, 0.7), "future": future}
    assert flow.recipe is model
    assert (flow.facts.horizon, flow.facts.seed) == (4, 9)
    with pytest.raises(HorizonError, match="horizon 5 is longer than the 4 steps this 'recorder' was fitted for"):
        flow.predict(panel, horizon=5)


def test_last_touches_come_last_and_in_order() -> None:
    panel = panel_of(a=[5.0, 0.3])
    flow = ForecastFlow(model=Recorder(), postprocess=(clip_below_zero, round_to_integers)).fit(panel, horizon=1)
    assert flow.predict(panel, quantile_levels=(0.1, 0.5, 0.9)).quantiles[0, 0].tolist() == [0.0, 0.0, 1.0]
    scaled = ForecastFlow(transforms=(Scale(),), model=Recorder(), postprocess=(clip_below_zero,)).fit(panel, horizon=1)
    assert last(scaled, panel).tolist() == pytest.approx([0.3])  # below zero only while it is scaled


def test_a_value_a_transform_cannot_take_is_refused_before_the_model_sees_it() -> None:
    model = Recorder()
    with pytest.raises(TransformError, match="log1p needs values of 0 or more"):
        ForecastFlow(transforms=(Log1p(),), model=model).fit(panel_of(a=[1.0, -2.0]), horizon=1)
    assert model.given == {}


# Files


def fitted() -> tuple[FittedFlow, Panel]:
    rng = np.random.default_rng(0)
    panel = panel_of(a=rng.gamma(2.0, 10.0, 30), b=rng.gamma(2.0, 900.0, 20))
    recipe = ForecastFlow(
        transforms=(Fill(method="seasonal"), Log1p(), Scale(method="robust")),
        model=SeasonalNaive(),
        postprocess=(round_to_integers,),
    )
    return recipe.fit(panel, horizon=5, seed=2), panel


def test_a_stored_flow_forecasts_the_same_also_for_series_it_has_not_seen(tmp_path: Path) -> None:
    flow, panel = fitted()
    assert flow.save(tmp_path / "flow") == tmp_path / "flow"
    assert sorted(path.name for path in (tmp_path / "flow").iterdir()) == ["flow.json", "manifest.json", "weights.safetensors"]
    loaded = load_model(tmp_path / "flow")
    stranger = panel_of(b=panel.target[30:40], c=panel.target[:30] * 3.0)
    for asked in (panel, stranger):
        np.testing.assert_array_equal(loaded.predict(asked).quantiles, flow.predict(asked).quantiles)
    assert loaded.facts == flow.facts
    assert [touch.name for touch in loaded.postprocess] == ["round_to_integers"]


def test_a_bare_predictor_is_a_flow_without_steps(tmp_path: Path) -> None:
    flow, panel = fitted()
    flow.predictor.save(tmp_path)
    bare = tsforecast.load_model(tmp_path)
    assert (bare.transforms, bare.postprocess) == ((), ())
    np.testing.assert_array_equal(bare.predict(panel).quantiles, flow.predictor.predict(panel).quantiles)


def test_a_bare_predictor_saved_where_a_flow_was_does_not_inherit_its_transforms(tmp_path: Path) -> None:
    flow, _ = fitted()
    flow.save(tmp_path)
    flow.predictor.save(tmp_path)
    assert load_model(tmp_path).transforms == ()


NEWER = r"flow\.json holds a step this version does not have: no "
DAMAGE = {
    "cut off": (lambda text: text[: len(text) // 2], r"flow\.json is damaged: JSONDecodeError.*; copy the model again"),
    "no transforms": (lambda text: json.dumps({"postprocess": []}), r"flow\.json is damaged: KeyError\('transforms'\)"),
    "a list": (lambda text: "[]", r"flow\.json is damaged: AttributeError"),
    "a transform without its numbers": (lambda text: text.replace('"spread"', '"bread"'), r"flow\.json is damaged: KeyError"),
    "an unknown transform": (lambda text: text.replace("log1p", "log99p"), f"{NEWER}transform 'log99p'"),
    "an unknown touch": (lambda text: text.replace("round_to_integers", "primes"), f"{NEWER}postprocess 'primes'; .*upgrade"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_flow_is_refused_with_the_file_that_is_wrong(tmp_path: Path, damage: str) -> None:
    flow, _ = fitted()
    path = flow.save(tmp_path) / "flow.json"
    break_it, message = DAMAGE[damage]
    path.write_text(break_it(path.read_text()))
    with pytest.raises(ArtifactError, match=message):
        load_model(tmp_path)


def test_a_folder_that_is_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not a stored model: .*; save one with predictor.save\(folder\)"):
        load_model(tmp_path)


def test_last_touches_may_be_named() -> None:
    flow = ForecastFlow(model=SeasonalNaive(), postprocess=("clip_below_zero",))  # type: ignore[arg-type]  # a name
    assert [touch.name for touch in flow.postprocess] == ["clip_below_zero"]
    with pytest.raises(OptionError, match="no postprocess 'clip'"):
        ForecastFlow(model=SeasonalNaive(), postprocess=("clip",))  # type: ignore[arg-type]  # as above
