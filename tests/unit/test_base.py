"""Facts, the checks of a request, and stored predictors that are whole, damaged or from another version."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.errors import ArtifactError, CovariateError, FrequencyError, HorizonError
from tsforecast.models import base, registry
from tsforecast.models.base import About, Facts, Predictor, check_horizon, load_predictor
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.panel import Panel


def panel_of(*lengths: int, freq: str = "D") -> Panel:
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": f"s{i}", "ds": pd.date_range("2024-01-01", periods=n, freq=freq), "y": np.arange(n) % 7.0})
            for i, n in enumerate(lengths)
        ]
    )
    return tsforecast.panel_from_frame(frame, freq=freq, season=7)


# Facts


def test_facts_say_the_latest_timestamp_of_any_series_and_count_what_was_observed() -> None:
    panel = panel_of(10, 20)
    panel = panel.with_target(np.where(np.arange(30) < 4, np.nan, panel.target))
    facts = Facts.of(panel, horizon=3, seed=8)
    assert facts == Facts(
        horizon=3, freq="D", season=7, trained_until="2024-01-20T00:00:00", series=2, observations=26, seed=8, covariate_names=()
    )


def test_facts_of_an_integer_clock_say_the_last_step() -> None:
    frame = pd.DataFrame({"ds": [4, 5, 6], "y": [1.0, 2.0, 3.0]})
    assert Facts.of(tsforecast.panel_from_frame(frame, freq=1), horizon=1, seed=0).trained_until == "6"


# The checks of a request


class WithCovariates(SeasonalNaive):
    """A recipe that says it reads covariates."""

    about: ClassVar[About] = replace(SeasonalNaive.about, covariates=("known-future",))


def predictor_for(panel: Panel, recipe: SeasonalNaive | None = None) -> Predictor:
    return (recipe or SeasonalNaive()).fit(panel, horizon=5)


@pytest.mark.parametrize("horizon", [0, -1, True, 1.0, "2", None])
def test_only_positive_whole_numbers_are_horizons(horizon: Any) -> None:
    with pytest.raises(HorizonError, match=f"horizon must be a positive number of steps, got {horizon!r}"):
        check_horizon(horizon)
    assert check_horizon(3) == 3


def test_the_horizon_is_the_fitted_one_unless_a_shorter_one_is_asked() -> None:
    panel = panel_of(20)
    assert predictor_for(panel).check_request(panel, None) == 5
    assert predictor_for(panel).check_request(panel, 2) == 2
    with pytest.raises(HorizonError, match="horizon 6 is longer than the 5 steps this 'seasonal_naive' was fitted for") as caught:
        predictor_for(panel).check_request(panel, 6)
    assert caught.value.field == "horizon"


def test_another_step_is_refused() -> None:
    with pytest.raises(FrequencyError, match="fitted on steps of 'D', these series step by 'h'; resample them") as caught:
        predictor_for(panel_of(20)).check_request(panel_of(20, freq="h"), None)
    assert caught.value.field == "freq"


def test_covariates_are_checked_only_where_the_model_reads_them() -> None:
    plain = panel_of(20, 20)
    panel = replace(plain, covariates=np.zeros((40, 2)), covariate_names=("price", "promo"))
    assert predictor_for(panel).check_request(plain, None) == 5  # reads none: any panel will do
    reads = predictor_for(panel, WithCovariates())
    assert reads.check_request(panel, 3, np.zeros((2, 3, 2))) == 3
    other = replace(panel, covariate_names=("promo", "price"))
    with pytest.raises(CovariateError, match=r"with covariates \['price', 'promo'\], the panel has \['promo', 'price'\]"):
        reads.check_request(other, 3, np.zeros((2, 3, 2)))
    with pytest.raises(CovariateError, match=r"the model needs the future of covariates \['price', 'promo'\]; pass future="):
        reads.check_request(panel, 3)
    with pytest.raises(CovariateError, match=r"future must have shape \(S, H, C\) = \(2, 3, 2\), got \(2, 5, 2\)"):
        reads.check_request(panel, 3, np.zeros((2, 5, 2)))


# Files


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return SeasonalNaive(season=3).fit(panel_of(20), horizon=5, seed=4).save(tmp_path / "a" / "model")


def test_a_stored_predictor_comes_back_as_it_was(stored: Path) -> None:
    assert sorted(path.name for path in stored.iterdir()) == ["manifest.json", "weights.safetensors"]
    assert load_predictor(stored) == SeasonalNaive(season=3).fit(panel_of(20), horizon=5, seed=4)
    assert load_predictor(str(stored)).facts.seed == 4


def test_an_option_of_a_newer_version_is_passed_over_and_one_of_its_own_kept(stored: Path) -> None:
    edit(stored, lambda manifest: manifest["options"].update(flavour="vanilla"))
    assert load_predictor(stored).recipe == SeasonalNaive(season=3)


def resize(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a stored model."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda at: (at / MANIFEST).unlink(), "is not a stored model: .*No such file.*save one with predictor.save"),
    "no weights": (lambda at: (at / WEIGHTS).unlink(), "is not a stored model: .*No such file"),
    "manifest cut off": (lambda at: resize(at / MANIFEST, lambda old: old[:60]), "is not a stored model: .*save one with"),
    "manifest of bytes": (lambda at: (at / MANIFEST).write_bytes(b"\xff\xfe\x00"), "is not a stored model: .*decode"),
    "manifest a list": (lambda at: (at / MANIFEST).write_text("[]"), "manifest.json is damaged: it says no format"),
    "no format": (lambda at: edit(at, lambda m: m.pop("format")), "manifest.json is damaged: it says no format"),
    "newer format": (lambda at: edit(at, lambda m: m.update(format=2)), "has format 2, this version reads up to 1; upgrade"),
    "weights cut off": (
        lambda at: resize(at / WEIGHTS, lambda old: old[:-1]),
        "weights.safetensors does not match its checksum in manifest.json; copy the model again",
    ),
    "weights changed": (lambda at: resize(at / WEIGHTS, lambda old: old + b" "), "does not match its checksum"),
    "checksum changed": (lambda at: edit(at, lambda m: m["sha256"].update({WEIGHTS: "0"})), "does not match its checksum"),
    "no checksum": (lambda at: edit(at, lambda m: m.pop("sha256")), "manifest.json is damaged: KeyError.*sha256"),
    "unknown model": (
        lambda at: edit(at, lambda m: m.update(model="arima")),
        "holds a model this version does not have: no model 'arima'; .*upgrade tsforecast",
    ),
    "impossible option": (lambda at: edit(at, lambda m: m["options"].update(season=-2)), "is damaged: OptionError.*got -2"),
    "no facts": (lambda at: edit(at, lambda m: m.pop("facts")), "manifest.json is damaged: KeyError.*facts"),
    "strange facts": (lambda at: edit(at, lambda m: m["facts"].update(colour="red")), "is damaged: TypeError.*colour"),
    "options a list": (lambda at: edit(at, lambda m: m.update(options=[])), "is damaged: AttributeError"),
    "no values": (lambda at: edit(at, lambda m: m.update(values={})), "manifest.json is damaged: KeyError.*season"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_refused_with_what_is_wrong(stored: Path, damage: str) -> None:
    break_it, message = DAMAGE[damage]
    break_it(stored)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_predictor(stored)
    assert str(stored) in str(caught.value)


def test_weights_that_are_no_tensors_are_refused_even_with_the_right_checksum(stored: Path) -> None:
    (stored / WEIGHTS).write_bytes(b"PK\x03\x04 something else")
    digest = hashlib.sha256(b"PK\x03\x04 something else").hexdigest()
    edit(stored, lambda manifest: manifest["sha256"].update({WEIGHTS: digest}))
    with pytest.raises(ArtifactError, match="is damaged: SafetensorError"):
        load_predictor(stored)


def test_values_that_json_cannot_say_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_for(panel_of(20))
    monkeypatch.setattr(type(predictor), "state", lambda self: ({}, {"loss": float("nan")}))
    with pytest.raises(ValueError, match="JSON compliant"):
        predictor.save(tmp_path)


def test_the_manifest_is_text_that_a_person_can_compare(stored: Path) -> None:
    manifest = json.loads((stored / "manifest.json").read_text())
    assert list(manifest) == sorted(manifest) == ["facts", "format", "kind", "model", "options", "sha256", "values"]
    assert (manifest["format"], manifest["kind"], manifest["model"]) == (base.FORMAT, "predictor", "seasonal_naive")
    assert manifest["options"] == {"season": 3}
    assert manifest["facts"]["trained_until"] == "2024-01-20T00:00:00"


def test_a_model_leaves_the_table_and_its_files_say_so(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.MODELS["forecast"], "seasonal_naive")
    with pytest.raises(ArtifactError, match=r"no model 'seasonal_naive'; available: auto_arima, .*gru"):
        load_predictor(stored)
