"""Features in a recipe: built by name, made by the model's flow in each run and over REST; what is wrong is said where it is."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsforecast
from pipelines.flows import check_names
from pipelines.recipe import RecipeFile
from pipelines.transfer import started
from pipelines.workspace import Workspace
from service.app import create_app
from service.model_store import FolderStore
from service.settings import Settings
from service.warming import made_up_panel, warm_up
from tests.pipelines.fakes import RECIPE, TREND, quarters
from tsforecast.errors import ForecastError, RecipeError
from tsforecast.flow import ForecastFlow
from tsforecast.models.linear import Linear
from tsforecast.nn.config import TrainConfig
from tsforecast.preprocessing.features import build_feature
from tsforecast.tracking.runs import flow_params

with warnings.catch_warnings():
    # Starlette announces a successor of httpx, which has nothing to do with what is tested here.
    warnings.filterwarnings("ignore", message=".*httpx.*")
    from starlette.testclient import TestClient

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
ECHO = '[[models]]\nname = "echo"\n'
READER = '[[models]]\nname = "reader"\n'
HOLIDAYS = '[[features]]\nname = "holidays"\ncountry = "DE"\n'
HEAD = RECIPE.replace("horizon = 4", "horizon = 14").replace("folds = 2", 'folds = 1\nmetric = "mae"')


def december() -> pd.DataFrame:
    """60 days up to 20 December 2023: 0, but 1 in the week before the fold, which a naive forecast takes for the rule."""
    days = pd.date_range("2023-10-22", "2023-12-20", freq="D")
    week = (days >= "2023-11-29") & (days <= "2023-12-06")
    return pd.DataFrame({"unique_id": "shop", "ds": days.strftime("%Y-%m-%d"), "y": week * 1.0})


def test_a_model_is_told_the_holidays_of_the_horizon(write: Write, run: Run) -> None:
    work = run(write(ECHO, HOLIDAYS, head=HEAD, data=december()))
    forecast = pd.read_parquet(work.path("forecast.parquet"))
    on = forecast.loc[forecast["0.5"] == 1, "ds"].dt.strftime("%m-%d").tolist()
    assert on == ["12-25", "12-26", "01-01"] and len(forecast) == 14
    assert work.panel.covariates is None and not work.path("future.parquet").exists()


def test_features_stand_beside_the_covariates_of_the_source(write: Write, run: Run) -> None:
    later = pd.DataFrame({"unique_id": "shop", "ds": pd.date_range("2023-12-21", periods=14).strftime("%Y-%m-%d"), "price": 7.0})
    data = pd.concat([december().assign(price=3.0), later])
    head = HEAD.replace('path = "quarters.csv"', 'path = "quarters.csv"\ncovariates = ["price"]')
    work = run(write(ECHO, HOLIDAYS, head=head, data=data))
    flow = tsforecast.load_model(work.model_folder(work.recipe.models[0]))
    assert flow.facts.covariate_names == ("price",)
    assert flow.predictor.facts.covariate_names == ("price", "holiday")
    forecast = flow.predict(work.panel, future=work.future)
    assert (forecast.median == 7).all()  # the first covariate stays that of the source


def test_lags_reach_a_model_that_reads_past_covariates_and_the_others_say_that_they_do_not(write: Write, run: Run) -> None:
    lags = '[[features]]\nname = "lags"\nsteps = [4]\n'
    data = quarters().assign(size=1.0)
    head = RECIPE.replace('path = "quarters.csv"', 'path = "quarters.csv"\nstatic_columns = ["size"]')
    work = run(write(READER, TREND, lags, head=head, data=data))
    forecast = pd.read_parquet(work.backtest(work.recipe.models[0], "parquet"))
    newest = forecast[forecast["origin"] == forecast["origin"].max()].groupby("unique_id")["0.5"].first().to_dict()
    assert newest == {"up": 35 - 4 + 1, "007": 135 - 4 + 1}  # the value four quarters before the last, and the static 1
    told = "\n".join(work.told)  # type: ignore[attr-defined]
    assert "trend does not read features lags (past): left out" in told


def test_what_is_wrong_with_a_feature_is_said_with_its_place_in_the_recipe(write: Write) -> None:
    for lines, place, message in (
        ('name = "holiday"', "features[0].name", "no feature 'holiday'; did you mean 'holidays'"),
        ('name = "holidays"\ncountry = "Germany"', "features[0].country", "did you mean 'DE'"),
        ('name = "fourier"\nperiod = 1', "features[0].period", "period must be a number of steps above 1, got 1"),
        ('name = "fourier"\nperiods = 7', "features[0].periods", "did you mean 'period'"),
        ('name = "lags"\nsteps = [1]', "features[0]", "no model of the recipe reads past covariates, which 'lags' makes"),
    ):
        file = write(ECHO, f"[[features]]\n{lines}\n")
        with pytest.raises(RecipeError) as caught:
            check_names(file)
        assert message in str(caught.value) and str(caught.value).startswith("recipe.toml: features[0]")
        assert caught.value.field == place


EVENTS = '[[features]]\nname = "events"\npath = "events.csv"\nuntil = 2024-01-31\n'


def test_an_events_file_lies_beside_the_recipe_and_a_change_of_it_is_noticed(write: Write, run: Run, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("date,name\n2023-12-23,sale\n")
    file = write(ECHO, EVENTS, head=HEAD, data=december())

    def sales() -> list[str]:
        forecast = pd.read_parquet(run(file).path("forecast.parquet"))
        return forecast.loc[forecast["0.5"] == 1, "ds"].dt.strftime("%m-%d").tolist()

    assert sales() == ["12-23"]
    (tmp_path / "events.csv").write_text("date,name\n2023-12-24,sale\n")
    assert sales() == ["12-24"]
    work = run(file)
    assert any("train has run already" in line for line in work.told)  # type: ignore[attr-defined]


def test_a_missing_events_file_stops_the_models_with_its_name(write: Write, run: Run, tmp_path: Path) -> None:
    work = run(write(ECHO, EVENTS, head=HEAD, data=december()))
    why = work.failure_of(work.recipe.models[0])
    assert why is not None and f"{tmp_path / 'events.csv'}' cannot be read: No such file" in why


def test_a_calendar_that_does_not_reach_over_the_horizon_is_named_before_the_training(
    write: Write, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "events.csv").write_text("date,name\n2023-12-23,sale\n")
    work = run(write(ECHO, EVENTS.replace("until = 2024-01-31\n", ""), head=HEAD, data=december()))
    why = work.failure_of(work.recipe.models[0])
    assert why is not None and "known until 2023-12-23, series 'shop' asks for 2024-01-03: columns event:sale are missing" in why


def test_a_flow_that_starts_from_another_model_keeps_its_features() -> None:
    features = (build_feature("age"), build_feature("lags", steps=[1]))
    flow = ForecastFlow(features=features, model=Linear.tiny())
    panel = tsforecast.panel_from_frame(december().assign(ds=lambda frame: pd.to_datetime(frame["ds"])), freq="D")
    train = TrainConfig(max_epochs=1)
    parent = flow.fit(panel, horizon=2, train=train)
    begun = started(flow, parent.predictor, 0)
    assert begun.features == features
    assert begun.fit(panel, horizon=2, train=train).predictor.facts.covariate_names == ("age",)
    assert "Age()" in flow_params(begun)["features"]


# Over REST


def stored(folder: Path, *features: tuple[str, dict[str, object]]) -> tuple[tsforecast.FittedFlow, tsforecast.Panel]:
    panel = tsforecast.panel_from_frame(december().assign(ds=lambda frame: pd.to_datetime(frame["ds"])), freq="D")
    built = tuple(build_feature(name, **options) for name, options in features)
    flow = ForecastFlow(features=built, model=Linear.tiny()).fit(panel, horizon=14, train=TrainConfig(max_epochs=2))
    flow.save(folder / "shop")
    return flow, panel


def test_a_request_needs_no_covariates_where_the_flow_makes_them(tmp_path: Path) -> None:
    flow, panel = stored(tmp_path, ("holidays", {"country": "DE", "before": 1}), ("fourier", {"period": 7}), ("age", {}))
    app = create_app(models=FolderStore(tmp_path), settings=Settings(refresh_seconds=3600.0))
    app.state.services.models.refresh()
    with TestClient(app) as client:
        asked = {"id": "shop", "start": "2023-10-22", "freq": "D", "target": panel.target.tolist()}
        answer = client.post("/v1/forecast", json={"series": [asked], "horizon": 14})
    assert answer.status_code == 200, answer.text
    quantiles = answer.json()["forecasts"][0]["quantiles"]
    expected = flow.predict(panel)
    np.testing.assert_array_equal([quantiles[str(level)] for level in expected.quantile_levels], expected.quantiles[0].T)


def test_a_model_whose_calendar_ends_soon_after_its_training_can_be_warmed(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("date,name\n2023-12-24,sale\n")
    flow, _ = stored(tmp_path, ("events", {"path": str(tmp_path / "events.csv"), "until": "2024-01-03"}))
    made_up = made_up_panel(flow.facts, rows=9)
    assert str(made_up.timestamps[-1]).startswith("2023-12-20")  # ends where the training did, so its future is known
    flow.predict(made_up)
    warm_up(flow, torch_threads=1)


def test_a_model_that_knows_places_of_its_own_series_only_is_served_unwarmed(tmp_path: Path) -> None:
    frame = december().assign(ds=lambda table: pd.to_datetime(table["ds"]), place="DE-BY")
    panel = tsforecast.panel_from_frame(frame, freq="D", static=["place"])
    feature = build_feature("holidays", country_column="place")
    flow = ForecastFlow(features=(feature,), model=Linear.tiny()).fit(panel, horizon=3, train=TrainConfig(max_epochs=1))
    with pytest.raises(ForecastError, match="series 'warm-up': its country is to be static category 'place'"):
        flow.predict(made_up_panel(flow.facts, rows=9))
    warm_up(flow, torch_threads=1)
