"""The stored model: no pickle in it, the same numbers out of it, and MLflow can serve it."""

import json
import os
import pickle
import pickletools
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.unit.tracking_cases import NAIVE, LastPlusCovariate, fitted, panel_of
from tsforecast.errors import HistoryTooShort, TrackingError
from tsforecast.flow import FittedFlow, ForecastFlow
from tsforecast.models.registry import MODELS
from tsforecast.preprocessing.transforms import TRANSFORMS
from tsforecast.tracking import open_tracking
from tsforecast.tracking.provenance import pip_requirements
from tsforecast.tracking.pyfunc import ServedFlow, _load_pyfunc, long_frame, write_pyfunc

ROOT = Path(__file__).parents[2]
PICKLE_WORDS = (b"cloudpickle", b"pickle", b".pkl", b"python_model", b"joblib", b"torch.save")


@pytest.fixture
def fake_model(monkeypatch):
    monkeypatch.setitem(MODELS["forecast"], LastPlusCovariate.name, "tests.unit.tracking_cases:LastPlusCovariate")


def pickled(path: Path) -> bool:
    """Whether a file is, or holds, or speaks of a pickle."""
    data = path.read_bytes()
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:  # pickletools raises whatever its reader met first
        return any(word in data for word in PICKLE_WORDS)
    return True


def stored_model(flow: FittedFlow, folder: Path, example=None) -> Path:
    return write_pyfunc(flow, example=example if example is not None else panel_of(), folder=folder)


def load_with_mlflow(folder: Path):
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(folder))


# ---------------------------------------------------------------- what is written


def test_no_file_of_the_artifact_is_or_names_a_pickle(tmp_path):
    folder = stored_model(fitted(panel_of()), tmp_path)
    files = {str(path.relative_to(folder)): pickled(path) for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "data/flow/flow.json", "data/flow/manifest.json", "data/flow/weights.safetensors"} <= set(files)
    assert {name for name, bad in files.items() if bad} == set()


def test_the_search_for_pickles_would_find_one(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "weights").write_bytes(pickle.dumps({"w": np.ones(3)}, protocol=protocol))
        assert pickled(tmp_path / "weights")
    (tmp_path / "MLmodel").write_text("python_model: python_model.pkl")
    assert pickled(tmp_path / "MLmodel")


def test_the_artifact_says_what_goes_in_what_comes_out_and_what_to_install(tmp_path):
    import yaml

    folder = stored_model(fitted(panel_of()), tmp_path)
    said = yaml.safe_load((folder / "MLmodel").read_text())
    signature = {part: json.loads(text) for part, text in said["signature"].items()}
    assert [(one["name"], one["type"]) for one in signature["inputs"]] == [
        ("unique_id", "string"),
        ("ds", "datetime"),
        ("y", "double"),
    ]
    assert [(one["name"], one["type"]) for one in signature["outputs"]] == [
        ("unique_id", "string"),
        ("ds", "datetime"),
        ("0.1", "double"),
        ("0.5", "double"),
        ("0.9", "double"),
    ]
    assert [(one["name"], one["type"], one["default"], one["shape"]) for one in signature["params"]] == [
        ("horizon", "long", 7, None),
        ("quantile_levels", "double", [0.1, 0.5, 0.9], [-1]),
    ]
    assert said["flavors"]["python_function"]["loader_module"] == "tsforecast.tracking.pyfunc"
    assert said["metadata"]["trained_until"] == "2024-03-01T00:00:00"
    requirements = (folder / "requirements.txt").read_text().split()
    assert any(line.startswith("torch==") for line in requirements)
    assert all("==" in line and "+" not in line for line in requirements)


def test_prophet_is_required_by_its_model_only():
    assert any(line.startswith("prophet==") for line in pip_requirements("prophet"))
    assert not any(line.startswith("prophet==") for line in pip_requirements("gru"))


def test_the_example_is_the_end_of_the_longest_series_and_short(tmp_path):
    panel = panel_of({"short": 20, "long": 400, "b": 21})
    folder = stored_model(fitted(panel), tmp_path, panel)
    example = json.loads((folder / "input_example.json").read_text())
    rows = example["inputs"]["data"]
    assert {row[0] for row in rows} == {"long"}
    assert len(rows) == 2 * 7 + 2
    assert rows[-1] == ["long", "2024-03-01T00:00:00", panel.target[419]]
    assert example["params"] == {"horizon": 7}


def test_the_example_is_as_long_as_the_model_needs(fake_model, tmp_path):
    panel = panel_of({"a": 200})
    flow = fitted(panel, flow=ForecastFlow(model=LastPlusCovariate(need=90)))
    folder = stored_model(flow, tmp_path, panel)
    assert len(json.loads((folder / "input_example.json").read_text())["inputs"]["data"]) == 90


def test_a_model_that_cannot_forecast_the_example_is_not_registered(fake_model, tracking_folder):
    tracker, panel = open_tracking(folder=tracking_folder), panel_of({"a": 40})
    flow = fitted(panel, flow=ForecastFlow(model=LastPlusCovariate(need=41)))
    with (
        pytest.raises(HistoryTooShort, match="series 'a' has 40 observations, the model needs at least 41"),
        tracker.training_run(experiment="shop", run_name="x", flow=None, panel=panel) as run,
    ):
        run.log_model(flow, example=panel, registered_name="shop")
    assert tracker.names() == []


# ---------------------------------------------------------------- what comes out


def test_a_registered_model_forecasts_what_the_trained_one_does(tracking_folder):
    tracker, panel = open_tracking(folder=tracking_folder), panel_of()
    flow = fitted(panel)
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.log_model(flow, example=panel, registered_name="shop")
    loaded, version = tracker.load("shop/1")
    levels = (0.05, 0.5, 0.95)
    expected = flow.predict(panel, quantile_levels=levels)
    np.testing.assert_array_equal(loaded.predict(panel, quantile_levels=levels).quantiles, expected.quantiles)
    assert loaded.facts == flow.facts
    assert (version.model, version.horizon, version.freq, version.season) == ("seasonal_naive", 7, "D", 7)
    assert version.trained_until == "2024-03-01T00:00:00"
    again, _ = tracker.load(version)
    np.testing.assert_array_equal(again.predict(panel, quantile_levels=levels).quantiles, expected.quantiles)


def test_mlflow_forecasts_a_long_frame_with_the_horizon_and_levels_asked(tmp_path):
    panel = panel_of()
    flow = fitted(panel)
    model = load_with_mlflow(stored_model(flow, tmp_path))
    answer = model.predict(long_frame(panel), params={"horizon": 3, "quantile_levels": [0.2, 0.5]})
    pd.testing.assert_frame_equal(answer, flow.predict(panel, horizon=3, quantile_levels=(0.2, 0.5)).to_frame())
    assert list(answer.columns) == ["unique_id", "ds", "0.2", "0.5"]
    assert len(model.predict(long_frame(panel))) == 2 * 7


def test_mlflow_finds_a_registered_version_by_its_address(tracking_folder):
    """What `mlflow models serve -m models:/shop/1` loads, without the server."""
    tracker, panel = open_tracking(folder=tracking_folder), panel_of()
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    source = tracker.store.client.get_model_version_download_uri("shop", "1")
    answer = load_with_mlflow(source).predict(long_frame(panel), params={"horizon": 1})
    assert answer["0.5"].tolist() == [1.0, 11.0]  # the series end at 0 and 10, and repeat 0 … 6


def test_a_refusal_reaches_the_caller_of_mlflow_in_our_words(tmp_path):
    from mlflow.exceptions import MlflowException

    model = load_with_mlflow(stored_model(fitted(panel_of()), tmp_path))
    with pytest.raises(MlflowException, match="horizon 8 is longer than the 7 steps") as caught:
        model.predict(long_frame(panel_of()), params={"horizon": 8})
    assert caught.value.get_http_status_code() == 400
    with pytest.raises(MlflowException, match=r"quantile_levels must lie in \(0, 1\), got 2.0"):
        model.predict(long_frame(panel_of()), params={"quantile_levels": [2]})
    with pytest.raises(MlflowException, match="missing inputs"):
        model.predict(long_frame(panel_of()).drop(columns="y"))


def test_an_integer_clock_goes_in_and_out_as_whole_numbers(tmp_path):
    panel = panel_of(integer=True)
    flow = fitted(panel)
    model = load_with_mlflow(stored_model(flow, tmp_path, panel))
    answer = model.predict(long_frame(panel), params={"horizon": 2})
    assert answer["ds"].tolist() == [101, 102, 101, 102]
    assert answer["ds"].dtype == np.int64


def test_a_zoned_model_takes_times_without_a_zone_as_utc_and_answers_in_its_zone():
    start = np.datetime64("2024-01-31T23:00", "ns")  # midnight in Berlin
    panel = panel_of({"a": 21}, tz="Europe/Berlin")
    panel = replace(panel, timestamps=start + np.arange(21) * np.timedelta64(1, "D"))
    served = ServedFlow(fitted(panel))
    frame = long_frame(panel)
    assert frame["ds"].iloc[0] == pd.Timestamp("2024-01-31T23:00")
    answer = served.forecast(frame, horizon=1, quantile_levels=(0.5,))
    assert answer["ds"].tolist() == [pd.Timestamp("2024-02-22", tz="Europe/Berlin")]


def test_the_last_rows_are_the_future_of_a_model_that_reads_covariates(fake_model, tmp_path):
    price = np.arange(40.0)
    panel = panel_of({"a": 20, "b": 20}, covariates=price[:, None], covariate_names=("price",))
    flow = fitted(panel, horizon=3, flow=ForecastFlow(model=LastPlusCovariate()))
    model = load_with_mlflow(stored_model(flow, tmp_path, panel))
    frame = long_frame(panel)
    frame.loc[[18, 19, 38, 39], "y"] = np.nan  # the future is not known
    answer = model.predict(frame, params={"horizon": 2})
    last = panel.target[[17, 37]]
    assert answer["0.5"].tolist() == [last[0] + 18, last[0] + 19, last[1] + 38, last[1] + 39]
    assert answer["ds"].tolist()[:2] == [pd.Timestamp("2024-02-29"), pd.Timestamp("2024-03-01")]


def test_past_covariates_and_static_features_are_columns_like_the_others(monkeypatch, tmp_path):
    from tests.pipelines import fakes

    monkeypatch.setitem(MODELS, "forecast", dict(MODELS["forecast"]))
    fakes.register()
    panel = panel_of(
        {"a": 20, "b": 20},
        past_covariates=np.arange(40.0)[:, None],
        past_covariate_names=("seen",),
        static_reals=np.array([[0.25], [0.5]]),
        static_real_names=("size",),
        static_categories=(("big",), ("small",)),
        static_category_names=("kind",),
        covariates=np.zeros((40, 1)),
        covariate_names=("price",),
    )
    folder = stored_model(fitted(panel, flow=ForecastFlow(model=fakes.Reader())), tmp_path, panel)
    columns = json.loads((folder / "input_example.json").read_text())["inputs"]["columns"]
    assert columns == ["unique_id", "ds", "y", "seen", "size", "kind"]
    model = load_with_mlflow(folder)
    types = {one["name"]: one["type"] for one in model.metadata.get_input_schema().to_dict()}
    assert (types["seen"], types["size"], types["kind"]) == ("double", "double", "string")
    frame = long_frame(panel)
    assert model.predict(frame.drop(columns="price"), params={"horizon": 1})["0.5"].tolist() == [19.25, 39.5]


def test_a_fallback_is_in_the_log_of_the_server(monkeypatch, caplog):
    from tests.pipelines import fakes

    panel = panel_of({"a": 20, "007": 20})
    ServedFlow(fitted(panel, flow=ForecastFlow(model=fakes.Faller()))).forecast(
        long_frame(panel), horizon=1, quantile_levels=(0.5,)
    )
    assert [record.getMessage() for record in caplog.records] == [
        "series '007' by fallback: no root found, seasonal naive instead"
    ]


def test_a_series_without_rows_for_its_future_is_named(fake_model):
    panel = panel_of({"a": 20, "b": 3}, covariates=np.ones((23, 1)), covariate_names=("price",))
    served = ServedFlow(fitted(panel, horizon=3, flow=ForecastFlow(model=LastPlusCovariate())))
    with pytest.raises(
        HistoryTooShort, match=r"series 'b' has 3 observations, .* at least 4; the last 3 rows of each series are its"
    ):
        served.forecast(long_frame(panel), horizon=3, quantile_levels=(0.5,))


def test_a_model_that_reads_no_covariates_is_not_asked_for_any(tmp_path):
    panel = panel_of({"a": 20}, covariates=np.ones((20, 1)), covariate_names=("price",))
    folder = stored_model(fitted(panel), tmp_path, panel)
    assert json.loads((folder / "input_example.json").read_text())["inputs"]["columns"] == ["unique_id", "ds", "y"]
    answer = load_with_mlflow(folder).predict(long_frame(panel_of({"z": 20})), params={"horizon": 2})
    assert len(answer) == 2


def test_step_and_season_are_those_of_the_fit_not_guessed_from_what_is_sent():
    panel = replace(panel_of({"a": 28}), season=5)
    served = ServedFlow(fitted(panel))
    read, _ = served._panel(long_frame(panel).tail(1), 1)  # one row tells no step
    assert (read.freq, read.season, read.target.tolist()) == ("D", 5, [0.0])


def test_a_flow_with_transforms_is_stored_whole(tmp_path):
    transform = next(one for name, one in TRANSFORMS.items() if "log" in name)()
    panel = panel_of().with_target(panel_of().target + 5)
    flow = fitted(panel, flow=ForecastFlow(model=NAIVE.model, transforms=(transform,)))
    folder = stored_model(flow, tmp_path, panel)
    again = _load_pyfunc(str(folder / "data" / "flow"))
    expected = flow.predict(panel, horizon=2).to_frame()
    pd.testing.assert_frame_equal(again.predict(long_frame(panel), {"horizon": 2}), expected)


# ---------------------------------------------------------------- the real servers


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer_of(url: str, process: subprocess.Popen[bytes]) -> bytes:
    """The first answer of a server that is starting."""
    give_up = time.monotonic() + 100
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} never answered; exit code {process.poll()}")


@pytest.mark.slow
def test_mlflow_models_serve_answers_for_a_registered_version(tracking_folder, tmp_path):
    tracker, panel = open_tracking(folder=tracking_folder), panel_of()
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    port = free_port()
    scripts = str(Path(sys.executable).parent)  # where uvicorn is
    environment = dict(os.environ) | {
        "MLFLOW_TRACKING_URI": tracker.uri,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/shop/1", "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            answer_of(f"http://127.0.0.1:{port}/ping", server)
            rows = [["x", f"2024-03-{day:02d}", None if day == 5 else float(day % 7)] for day in range(1, 25)]
            body = {
                "dataframe_split": {"columns": ["unique_id", "ds", "y"], "data": rows},
                "params": {"horizon": 2, "quantile_levels": [0.5]},
            }
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.loads(answer.read())["predictions"] == [
                    {"unique_id": "x", "ds": "2024-03-25T00:00:00", "0.5": 4.0},
                    {"unique_id": "x", "ds": "2024-03-26T00:00:00", "0.5": 5.0},
                ]
        finally:
            os.killpg(server.pid, 15)


@pytest.mark.slow
def test_the_ui_server_answers_and_is_a_store_itself(tracking_folder, tmp_path, capfd):
    from tsforecast.tracking import mlflow_ui_command

    local, panel = open_tracking(folder=tracking_folder), panel_of()
    with local.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel, recipe_text="x = 1\n") as run:
        run.log_metrics({"mase": 0.5})
    port = free_port()
    argv, environment = mlflow_ui_command(local, port=port)
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen(argv, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            assert answer_of(f"{url}/health", server) == b"OK"
            assert b"<title>MLflow</title>" in answer_of(url, server)
            assert answer_of(f"{url}/get-artifact?path=recipe.toml&run_uuid={run.run_id}", server) == b"x = 1\n"
            remote = open_tracking(url)
            with remote.training_run(experiment="far", run_name="naive", flow=NAIVE, panel=panel) as far:
                far.log_model(fitted(panel), example=panel, registered_name="far")
            flow, version = remote.load("far/1")
            assert capfd.readouterr() == ("", "")  # neither addresses of runs nor progress bars
            assert (flow.facts.horizon, version.run_id) == (7, far.run_id)
            assert local.names() == ["far"]
            with pytest.raises(TrackingError, match="is a server already"):
                mlflow_ui_command(remote)
        finally:
            os.killpg(server.pid, 15)
