import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import tsforecast
from service.errors import Problem
from service.loaded_models import LoadedModels
from service.warming import made_up_panel, warm_up
from tests.service.fakes import MemoryStore, panel_of, ramp_flow
from tsforecast import __version__
from tsforecast.errors import ArtifactError, TrackingError, UnknownModel
from tsforecast.flow import FittedFlow
from tsforecast.panel import Panel


def loaded(store: MemoryStore, *, default: str | None = None, capacity: int = 4) -> LoadedModels:
    return LoadedModels(store=store, warm=partial(warm_up, torch_threads=1), default=default, capacity=capacity)


def broken(error: Exception) -> Callable[[Panel], None]:
    def raising(_: Panel) -> None:
        raise error

    return raising


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    found.put("demand", ramp_flow())
    return found


def test_the_default_is_the_only_stored_model_and_ready_once_it_is_loaded(store: MemoryStore) -> None:
    models = loaded(store)
    assert models.not_ready == "the default model is being loaded"
    with pytest.raises(Problem) as caught:
        models.get(None)
    assert (caught.value.status, caught.value.kind, caught.value.headers["Retry-After"]) == (503, "not-ready", "5")
    models.refresh()
    assert models.not_ready is None
    assert (models.get(None).name, models.get(None).version) == ("demand", "1")
    assert models.get(None).trained_until == "2024-01-05T00:00:00"


def test_without_a_model_or_with_several_the_reason_says_what_to_do(store: MemoryStore) -> None:
    empty = loaded(MemoryStore())
    empty.refresh()
    assert empty.not_ready == (
        "no model is stored in memory; train one with `tsforecast run RECIPE`, "
        "or set TSF_DEFAULT_MODEL=seasonal_naive to serve without one"
    )
    store.put("other", ramp_flow())
    several = loaded(store)
    several.refresh()
    assert several.not_ready == "TSF_DEFAULT_MODEL has to say which model is the default: demand, other"
    chosen = loaded(store, default="other@champion")
    chosen.refresh()
    assert (chosen.not_ready, chosen.get(None).name) == (None, "other")


def test_the_reason_tells_nothing_about_the_inside_of_the_store(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    store.away = True
    models = loaded(store)
    models.refresh()
    assert models.not_ready == "the default model cannot be loaded; the log says why"
    assert "the store at secret-host is away" in caplog.text


def test_a_model_is_loaded_once_whatever_it_is_called_and_however_many_ask(store: MemoryStore) -> None:
    models = loaded(store)
    found = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(models.get(name)))
        for name in ("demand", "demand@champion", "demand/1") * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    models.refresh()
    assert store.loads == ["demand/1"]
    assert all(one is models.get(None) for one in found)


def test_an_alias_that_moves_is_followed_and_a_pinned_version_stays(store: MemoryStore) -> None:
    models = loaded(store)
    models.get("demand"), models.get("demand/1")
    models.refresh()
    store.put("demand", ramp_flow(slope=2.0))
    assert models.get("demand").version == "1"  # until the next look
    models.refresh()
    assert [models.get(name).version for name in (None, "demand", "demand/1")] == ["2", "2", "1"]
    assert store.loads == ["demand/1", "demand/2"]


@pytest.mark.parametrize(
    "error", [ArtifactError("weights are damaged"), RuntimeError("mat1 and mat2 shapes cannot be multiplied")]
)
def test_a_new_version_that_does_not_work_leaves_the_old_one_and_the_log_says_why(
    store: MemoryStore, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    models = loaded(store)
    models.get("demand")
    models.refresh()
    store.put("demand", ramp_flow(before=broken(error)))
    models.refresh()
    assert (models.get(None).version, models.get("demand").version, models.not_ready) == ("1", "1", None)
    assert f"the default model stays at version 1: {error}" in caplog.text
    assert f"model 'demand' stays at version 1: {error}" in caplog.text
    models.refresh()
    assert caplog.text.count(f"the default model stays at version 1: {error}") == 2
    assert caplog.text.count("Traceback") == (2 if isinstance(error, RuntimeError) else 0)  # each once, not at every look
    store.put("demand", ramp_flow())  # a third one, that works
    models.refresh()
    assert (models.get(None).version, models.get("demand").version) == ("3", "3")


def test_while_the_store_is_away_what_is_loaded_goes_on_answering(store: MemoryStore) -> None:
    models = loaded(store)
    models.get("demand@champion")
    models.refresh()
    store.away = True
    models.refresh()
    assert (models.get("demand@champion").version, models.get(None).version, models.not_ready) == ("1", "1", None)
    with pytest.raises(TrackingError):
        models.get("demand/1")


def test_a_model_that_was_deleted_is_gone_at_the_next_look_but_the_default_stays(store: MemoryStore) -> None:
    store.put("other", ramp_flow())
    models = loaded(store, default="demand")
    models.get("other")
    models.refresh()
    store.flows.clear()
    models.refresh()
    assert models.get(None).version == "1"
    with pytest.raises(UnknownModel):
        models.get("other")


def test_the_least_recently_asked_model_goes_when_there_are_too_many(store: MemoryStore) -> None:
    for name in ("a", "b", "c"):
        store.put(name, ramp_flow())
    models = loaded(store, default="demand", capacity=2)
    models.refresh()
    for name in ("a", "b", "a", "c", "a", "b"):  # c pushes b out, then b pushes c out
        models.get(name)
    assert store.loads == ["demand/1", "a/1", "b/1", "c/1", "b/1"]
    assert models.get(None).name == "demand"


def test_an_architecture_that_needs_no_training_answers_by_its_name(store: MemoryStore) -> None:
    model = loaded(store).get("seasonal_naive")
    assert (model.name, model.version, model.trained_until, model.facts) == ("seasonal_naive", __version__, None, None)
    forecast = model.predict(panel_of(range(14)), horizon=2, quantile_levels=(0.5,))
    np.testing.assert_allclose(forecast.median, [[7.0, 8.0]], atol=8)
    as_default = loaded(MemoryStore(), default="seasonal_naive")
    as_default.refresh()
    as_default.refresh()
    assert as_default.not_ready is None


def test_a_stored_model_goes_before_the_architecture_of_its_name(store: MemoryStore) -> None:
    models = loaded(store)
    assert models.get("seasonal_naive").flow is None
    store.put("seasonal_naive", ramp_flow())
    models.refresh()
    assert (models.get("seasonal_naive").architecture, models.get("seasonal_naive").version) == ("ramp", "1")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nope", "no model 'nope' is stored"),
        ("gru", "'gru' is an architecture that has to be trained first"),
        ("seasonal_naive/3", "no model 'seasonal_naive/3' is stored"),
        ("seasonal_naive@champion", "no model 'seasonal_naive@champion' is stored"),
        ("a/b/c", "'a/b/c' names no model"),
    ],
)
def test_what_is_not_there_is_unknown(store: MemoryStore, reference: str, message: str) -> None:
    with pytest.raises(UnknownModel, match=message):
        loaded(store).get(reference)


def test_the_background_thread_loads_the_default_and_ends_when_told(store: MemoryStore) -> None:
    models = loaded(store)
    seen = threading.Event()
    warm = models.warm
    models.warm = lambda flow: (warm(flow), seen.set())  # type: ignore[assignment, return-value, func-returns-value]
    models.start()
    assert seen.wait(30)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "models"]
    models.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert models.not_ready is None


# ------------------------------------------------------------ warming


@pytest.mark.parametrize(("freq", "start"), [("h", "2024-03-31T05:00"), ("W-SUN", "2024-01-07"), ("ME", "2024-01-31"), (10, 40)])
def test_a_model_of_any_clock_is_warmed_on_a_series_of_its_own_clock(freq: str | int, start: str | int) -> None:
    asked: list[Panel] = []
    warm_up(ramp_flow(freq=freq, start=start, before=asked.append), torch_threads=1)
    assert (asked[0].freq, len(asked)) == (freq, 1)
    assert np.isfinite(asked[0].target).all()


def test_warming_gives_a_model_as_long_a_history_as_it_says_it_needs() -> None:
    asked: list[int] = []
    warm_up(ramp_flow(need=500, before=lambda panel: asked.append(len(panel.target))), torch_threads=1)
    assert asked == [64, 500]


def test_warming_gives_covariates_to_a_model_that_reads_them() -> None:
    facts = replace(ramp_flow().facts, covariate_names=("price", "holiday"))
    panel = made_up_panel(facts, rows=9)
    assert panel.covariates is not None
    assert (panel.covariates.shape, panel.covariate_names) == ((9, 2), ("price", "holiday"))


def test_warming_sets_the_threads_of_torch_where_it_is_loaded_and_loads_it_not_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=threads.append))
    warm_up(ramp_flow(), torch_threads=3)
    assert threads == [3]
    monkeypatch.delitem(sys.modules, "torch")
    warm_up(ramp_flow(), torch_threads=3)
    assert "torch" not in sys.modules


def test_a_real_model_is_warmed() -> None:
    flow = FittedFlow(predictor=tsforecast.build_model("seasonal_naive").fit(panel_of(range(20)), horizon=3))
    warm_up(flow, torch_threads=1)


def test_a_model_that_knows_only_its_own_series_is_not_warmed_but_served(caplog: pytest.LogCaptureFixture) -> None:
    from tsforecast.errors import SchemaError

    flow = ramp_flow(before=broken(SchemaError("series 'warm-up' was not in the fit")))
    with pytest.raises(SchemaError):
        warm_up(flow, torch_threads=1)
    local = replace(flow.recipe.about, scope="local")
    type(flow.recipe).about, before = local, type(flow.recipe).about
    try:
        with caplog.at_level(logging.INFO):
            warm_up(flow, torch_threads=1)
    finally:
        type(flow.recipe).about = before
    assert "ramp answers only for series it knows, so it is not warmed: series 'warm-up' was not in the fit" in caplog.text
