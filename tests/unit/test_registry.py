"""The table of models: names, and what is said about names that are not in it."""

import pytest

import tsforecast
from tsforecast.errors import OptionError, UnknownModel
from tsforecast.models import registry
from tsforecast.models.registry import available_models, build_model, model_class
from tsforecast.models.seasonal_naive import SeasonalNaive


def test_the_names_are_sorted_and_those_of_the_table() -> None:
    assert available_models() == sorted(registry.MODELS["forecast"])
    assert {"gru", "lstm", "prophet", "seasonal_naive"} <= set(available_models())
    assert available_models(task="anomaly") == sorted(registry.MODELS["anomaly"])


def test_an_unknown_task_lists_the_tasks() -> None:
    with pytest.raises(OptionError, match="no task 'cluster'; tasks: forecast, anomaly") as caught:
        available_models("cluster")
    assert caught.value.field == "task"


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"no model 'arima'; available: .*gru, .*lstm, .*prophet, .*seasonal_naive") as caught:
        build_model("arima")
    assert caught.value.field == "model"


def test_a_name_leads_to_its_class_and_options_to_its_fields() -> None:
    assert model_class("seasonal_naive") is SeasonalNaive
    assert build_model("seasonal_naive", season=12) == SeasonalNaive(season=12)
    assert tsforecast.build_model("seasonal_naive") == SeasonalNaive()


def test_an_unknown_option_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(OptionError) as caught:
        build_model("seasonal_naive", seasn=12)
    assert str(caught.value) == "model 'seasonal_naive' has no option 'seasn'; did you mean 'season'? Options: season"
    assert caught.value.field == "seasn"


def test_an_option_near_to_none_is_refused_without_a_guess() -> None:
    with pytest.raises(OptionError) as caught:
        build_model("seasonal_naive", colour="red")
    assert str(caught.value) == "model 'seasonal_naive' has no option 'colour'; Options: season"


def test_a_new_model_is_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS["forecast"], "again", "tsforecast.models.seasonal_naive:SeasonalNaive")
    assert "again" in available_models()
    assert build_model("again", season=3) == SeasonalNaive(season=3)
