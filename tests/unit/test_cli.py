"""`tsforecast …`: each command, its answer and its exit code."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tsforecast
from pipelines import one_file
from tsforecast import cli
from tsforecast.errors import OptionError
from tsforecast.models.registry import MODELS

ROOT = Path(__file__).parents[2]
Called = tuple[int, str, str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two daily series with a weekly pattern, columns shop, day, sold."""
    days = pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d")
    week = np.arange(60.0) % 7
    frames = [pd.DataFrame({"shop": shop, "day": days, "sold": week + more}) for shop, more in (("a", 0), ("b", 10))]
    pd.concat(frames).to_csv(tmp_path / "shops.csv", index=False)
    return tmp_path / "shops.csv"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def call(*arguments: Any) -> Called:
        code = cli.main([str(one) for one in arguments])
        return code, *capsys.readouterr()

    return call


COLUMNS = ("--id", "shop", "--time", "day", "--target", "sold")
NAIVE = ("--model", "seasonal_naive", "--horizon", "7")


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = ["pandas", "torch", "mlflow", "scipy", "sqlalchemy", "fastapi", "apscheduler", "matplotlib", "prophet"]
    code = f"import sys; from tsforecast import cli; cli.build_parser(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tsforecast.cli", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"tsforecast {tsforecast.__version__}\n"


def test_help_names_every_command_and_every_exit_code(call: Callable[..., Called]) -> None:
    code, out, _ = call()
    assert code == 2
    for command in ("models", "check", "run", "train", "backtest", "forecast", "serve", "schedule", "mlflow"):
        assert f"\n    {command} " in out
    for number in (0, 1, 2, 3, 4, 5, 130):
        assert f"\n  {number}  " in out or f"\n{number}  " in out


def test_models_lists_what_can_be_trained(call: Callable[..., Called]) -> None:
    code, out, _ = call("models")
    rows = [line.split("  ") for line in out.splitlines()]
    assert code == 0 and rows[0][0].strip() == "model" and [row[0].strip() for row in rows[1:]] == tsforecast.available_models()
    [naive] = [[cell.strip() for cell in row if cell.strip()] for row in rows if row[0].startswith("seasonal_naive")]
    assert naive == ["seasonal_naive", "baseline", "local", "none", "untrained", "one season and one step, observed"]
    _, out, _ = call("models", "--json")
    listed = json.loads(out)
    assert listed["gru"]["family"] == "recurrent" and listed["gru"]["transfers"] is True
    hidden = {"type": "int", "default": 128, "words": "width of the core"}
    assert listed["gru"]["parameters"]["hidden"] == hidden
    _, out, _ = call("models", "gru", "--json")
    assert json.loads(out) == {"gru": listed["gru"]}


def test_models_says_what_one_is_and_what_its_parameters_mean(call: Callable[..., Called]) -> None:
    code, out, _ = call("models", "seasonal_naive")
    assert code == 0
    assert out.splitlines() == [
        "seasonal_naive: Repeats the last season of each series; the yardstick every other model has to beat.",
        "",
        "family               baseline",
        "fit                  no training (local): answers from the history it is given",
        "reads covariates     none",
        "needs                one season and one step, observed",
        "starts from another  no",
        "sample paths         no",
        "source               Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., sections 5.2 and 5.5",
        "",
        "parameters (default, type, meaning)",
        "  season  none  int | None  steps in a season, e.g. 24 for hourly data with a daily cycle; None = the panel's",
    ]
    code, _, err = call("models", "nope")
    assert code == 2 and "no model 'nope'; available: " in err


def test_a_model_whose_package_is_missing_is_listed_with_what_it_needs(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS["forecast"], "oracle", "delphi.temple:Oracle")
    code, out, _ = call("models")
    assert code == 0 and out.splitlines()[-1].split("  ")[-1].strip() == "needs package delphi"
    _, out, _ = call("models", "--json")
    assert json.loads(out)["oracle"] == {"unavailable": "needs package delphi"}
    code, _, err = call("models", "oracle")
    assert code != 0 and "model 'oracle' needs package delphi; install it to use this model" in err


def test_models_writes_its_tables_between_marks(call: Callable[..., Called], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- models -->\nold\n<!-- /models -->\nafter\n")
    _, table, _ = call("models", "--markdown")
    assert call("models", "--markdown", "--write", page)[:2] == (0, f"{page}: written\n")
    assert page.read_text() == f"before\n<!-- models -->\n{table}<!-- /models -->\nafter\n"
    assert call("models", "--write", page)[1] == f"{page}: as it was\n"
    page.write_text("nothing")
    assert "has no block to write; add <!-- models --> and <!-- /models -->" in call("models", "--write", page)[2]
    page.write_text("<!-- models -->")
    assert "the block <!-- models --> has no end; add <!-- /models -->" in call("models", "--write", page)[2]


def test_check_says_what_panel_a_file_makes(call: Callable[..., Called], data: Path) -> None:
    code, out, _ = call("check", data, *COLUMNS)
    assert code == 0
    assert out.splitlines()[:2] == [
        f"{data}: 2 series, 120 steps of D (season 7), 2024-01-01 to 2024-02-29, 0 not observed",
        "  lengths from 60 to 60 steps",
    ]
    assert out.endswith("nothing found\n")
    _, out, _ = call("check", data, *COLUMNS, "--season", 14, "--json")
    assert json.loads(out)["panel"]["season"] == 14
    assert json.loads(call("check", data, *COLUMNS, "--season", "auto", "--json")[1])["panel"]["season"] == 7


def test_check_says_what_is_wrong_with_a_file(call: Callable[..., Called], data: Path) -> None:
    code, out, err = call("check", data)
    assert (code, out) == (1, "")
    assert err.startswith(f"tsforecast: {data} has no column 'unique_id' (--id); it has shop, day, sold; for a file with one")
    frame = pd.read_csv(data)
    frame[frame.index != 5].to_csv(data, index=False)
    code, out, err = call("check", data, *COLUMNS)
    assert code == 1 and err.count("\n") == 1 and "series 'a'" in err
    assert "error: missing steps" in out and "refused: " in out
    code, out, _ = call("check", data, *COLUMNS, "--missing-steps", "insert", "--freq", "D")
    assert code == 6 and "1 not observed" in out and "repaired: missing_steps 1" in out


def test_check_reads_recipes(call: Callable[..., Called], data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    source = f'[source]\nkind = "csv"\npath = "{data.name}"\nid = "shop"\ntime = "day"\ntarget = "sold"\n'
    recipe.write_text(f'name = "shops"\n{source}[forecast]\nhorizon = 7\n[[models]]\nname = "gru"\n')
    code, out, _ = call("check", recipe)
    assert code == 0 and out.startswith(f"{recipe} is in order: 2 series, 120 steps of D")
    recipe.write_text(recipe.read_text() + "options = { hiden = 3 }\n")
    code, _, err = call("check", recipe)
    assert code == 2 and "r.toml: models[0]: model 'gru' has no option 'hiden'; did you mean 'hidden'?" in err
    recipe.write_text(recipe.read_text().replace("hiden", "hidden") + '[schedule]\ncron = "0 25 * * *"\n')
    code, _, err = call("check", recipe)
    assert code == 2 and "schedule.cron '0 25 * * *' cannot be read" in err


def test_a_model_is_trained_saved_and_asked(call: Callable[..., Called], data: Path, tmp_path: Path) -> None:
    code, out, _ = call("train", data, *COLUMNS, *NAIVE, "--out", tmp_path / "model")
    assert code == 0
    assert (
        out == f"seasonal_naive: 2 series, 120 observations, trained until 2024-02-29T00:00:00, saved in {tmp_path / 'model'}\n"
    )
    code, out, _ = call("forecast", tmp_path / "model", data, *COLUMNS, "--horizon", 2, "--quantile-levels", "0.5")
    assert code == 0
    assert out.splitlines() == [
        "unique_id,ds,0.5",
        "a,2024-03-01,4.0",
        "a,2024-03-02,5.0",
        "b,2024-03-01,14.0",
        "b,2024-03-02,15.0",
    ]
    code, out, _ = call("forecast", tmp_path / "model", data, *COLUMNS, "--out", tmp_path / "f.parquet")
    assert out == f"{tmp_path / 'f.parquet'}\n" and len(pd.read_parquet(tmp_path / "f.parquet")) == 14


def test_a_model_is_backtested(call: Callable[..., Called], data: Path, tmp_path: Path) -> None:
    code, out, _ = call("backtest", data, *COLUMNS, *NAIVE, "--folds", 2, "--option", "season=3", "--out", tmp_path / "b.csv")
    assert code == 0 and out.startswith("seasonal_naive: ") and out.endswith("(2 folds of 7 steps)\n")
    assert len(pd.read_csv(tmp_path / "b.csv")) == 2 * 2 * 7
    _, out, _ = call("backtest", data, *COLUMNS, *NAIVE, "--json")
    assert json.loads(out)["mae"] == 0.0  # the pattern repeats every week


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "grru", "--horizon", 7), 2, "no model 'grru'; available: "),
        ((*NAIVE, "--option", "seasn=3"), 2, "model 'seasonal_naive' has no option 'seasn'; did you mean 'season'?"),
        ((*NAIVE, "--option", "season"), 2, "--option takes NAME=VALUE, got 'season'"),
        ((*NAIVE, "--train", "max_epoch=3"), 2, "--train: unknown key 'max_epoch'; the nearest known key is 'max_epochs'"),
        ((*NAIVE, "--train", "max_epochs=many"), 2, "--train: max_epochs must be a whole number, got a text: 'many'"),
        (("--model", "seasonal_naive", "--horizon", 0), 2, "horizon must be a positive number of steps, got 0"),
    ],
)
def test_wrong_words_are_one_line(
    call: Callable[..., Called], data: Path, arguments: tuple[Any, ...], code: int, message: str
) -> None:
    got, out, err = call("train", data, *COLUMNS, *arguments, "--out", data.parent / "model")
    assert (got, out) == (code, "")
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        (("backtest", "shops.csv", *NAIVE), "--out", "b.xlsx"),
        (("forecast", "nowhere", "shops.csv"), "--out", "f.txt"),
        (("decompose", "shops.csv"), "--out", "parts.json"),
        (("decompose", "shops.csv"), "--plot", "parts.bmp"),
    ],
)
def test_files_of_unknown_kinds_are_refused_before_anything_is_read(
    call: Callable[..., Called], command: tuple[str, ...], option: str, name: str
) -> None:
    code, out, err = call(*command, option, name)
    assert code == 2 and err.startswith(f"tsforecast: {option} writes files that end in .") and name in err and out == ""


def test_what_a_forecast_lacks_is_said_in_options(call: Callable[..., Called], data: Path, tmp_path: Path) -> None:
    assert call("train", data, *COLUMNS, *NAIVE, "--out", tmp_path / "model")[0] == 0
    asked = ("forecast", tmp_path / "model", data, *COLUMNS)
    _, _, err = call(*asked, "--horizon", 9)
    assert "--horizon 9 is longer than the 7 steps" in err and "or fit with --horizon 9" in err
    assert "tsforecast: --quantile-levels must lie in (0, 1)" in call(*asked, "--quantile-levels", "2")[2]
    frame = pd.read_csv(data)
    frame.iloc[[0, 60]].to_csv(data, index=False)
    assert "pass --freq, such as --freq h" in call(*asked)[2]
    assert "pass --freq" not in call(*asked, "--freq", "D")[2]
    frame.assign(sold=frame["sold"].where(frame.index != 7, np.inf)).to_csv(data, index=False)
    assert "series 'a' has inf in 'sold', row 7" in call(*asked)[2]


def test_quantile_levels_that_are_no_numbers_are_named() -> None:
    with pytest.raises(OptionError, match=r"--quantile-levels takes numbers such as 0\.1,0\.5,0\.9, got '10%'"):
        one_file.levels_of("10%")


def test_option_values_are_read_as_toml_and_else_as_text() -> None:
    read = one_file.pairs_of(["a=3", "b=0.5", "c=true", "d=robust", 'e="x=y"', "f=[1, 2]"], "--option")
    assert read == {"a": 3, "b": 0.5, "c": True, "d": "robust", "e": "x=y", "f": [1, 2]}


def test_a_model_that_is_nowhere_is_named(
    call: Callable[..., Called], data: Path, tracking_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSF_MLRUNS", str(tracking_folder))
    code, _, err = call("forecast", "demand@champion", data, *COLUMNS)
    assert code == 2 and "no registered model 'demand'" in err


def test_debug_shows_the_traceback(data: Path) -> None:
    with pytest.raises(tsforecast.errors.UnknownModel):
        cli.main(["train", str(data), "--model", "x", "--horizon", "1", "--out", "m", "--debug"])


def test_serve_hands_its_arguments_to_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TSF_HOST", "TSF_PORT", "TSF_MODEL_DIR"):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
    import service.__main__

    seen: dict[str, str] = {}

    def serve() -> int:
        seen.update({name: os.environ[name] for name in ("TSF_HOST", "TSF_PORT", "TSF_MODEL_DIR")})
        return 0

    monkeypatch.setattr(service.__main__, "main", serve)
    assert cli.main(["serve", "--port", "8123", "--model-dir", "models"]) == 0
    assert seen == {"TSF_HOST": "", "TSF_PORT": "8123", "TSF_MODEL_DIR": "models"}


def test_mlflow_starts_the_server_on_the_machines_store(tracking_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSF_MLRUNS", str(tracking_folder))
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *command: started.append(command))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    cli.main(["mlflow", "--port", port])
    ((program, arguments, environment),) = started
    assert program == sys.executable and arguments[1:4] == ["-m", "mlflow", "server"]
    assert f"sqlite:///{tracking_folder}/mlflow.db" in arguments and port in arguments
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_on_a_taken_port_is_an_error(tracking_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["mlflow", "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port" in capsys.readouterr().err


# ---------------------------------------------------------------- features, transfer and fallbacks, with the fakes of the recipes


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.pipelines import fakes
    from tsforecast.models.registry import MODELS

    monkeypatch.setitem(MODELS, "forecast", dict(MODELS["forecast"]))
    fakes.register()


def test_past_covariates_and_static_features_are_read_from_files(
    call: Callable[..., Called], data: Path, tmp_path: Path, fakes: None
) -> None:
    frame = pd.read_csv(data)
    frame.assign(seen=frame["sold"] * 10).to_csv(data, index=False)
    pd.DataFrame({"shop": ["b", "a"], "size": [0.5, 0.25], "kind": ["big", "small"]}).to_csv(tmp_path / "s.csv", index=False)
    features = ("--past-covariates", "seen", "--static", tmp_path / "s.csv")
    code, out, _ = call("check", data, *COLUMNS, *features)
    assert code == 0 and ", 0 not observed, past covariates seen, static size, kind\n" in out
    reader = ("--model", "reader", "--horizon", 2)
    assert call("train", data, *COLUMNS, *features, *reader, "--out", tmp_path / "m")[0] == 0
    code, out, _ = call("forecast", tmp_path / "m", data, *COLUMNS, *features, "--horizon", 1, "--quantile-levels", "0.5")
    assert (code, out.splitlines()[1:]) == (0, ["a,2024-03-01,30.25", "b,2024-03-01,130.5"])
    code, _, err = call("forecast", tmp_path / "m", data, *COLUMNS)
    assert code == 1 and "the model was fitted with past covariates ['seen'], the panel has []" in err
    assert call("backtest", data, *COLUMNS, *features, *reader)[0] == 0
    few = (*features, "--static-columns", "size, colour")
    code, _, err = call("check", data, *COLUMNS, *few)
    assert code == 1 and "s.csv has no column 'colour' (--static-columns); it has shop, size, kind" in err


def test_a_model_is_tuned_from_another(call: Callable[..., Called], data: Path, tmp_path: Path, fakes: None) -> None:
    heir = ("--model", "heir", "--horizon", 7)
    frame = pd.read_csv(data)
    frame[frame["day"] < "2024-02-01"].to_csv(tmp_path / "january.csv", index=False)
    call("train", tmp_path / "january.csv", *COLUMNS, *heir, "--out", tmp_path / "base")
    tuned = (*COLUMNS, *heir, "--start-from", tmp_path / "base")
    code, out, _ = call("train", data, *tuned, "--freeze", 2, "--out", tmp_path / "child")
    assert code == 0 and out.startswith(f"heir: tuned from {tmp_path / 'base'}, 2 series, 120 observations")
    assert json.loads((tmp_path / "child" / "manifest.json").read_text())["values"] == {"generation": 2, "frozen": 2}
    assert call("backtest", data, *tuned)[0] == 0
    code, _, err = call("backtest", data, *COLUMNS, *heir, "--start-from", tmp_path / "child")
    assert (
        code == 2 and f"--start-from '{tmp_path / 'child'}' was trained until 2024-02-29T00:00:00 and the first backtest" in err
    )
    code, _, err = call("train", data, *COLUMNS, *heir, "--freeze", 2, "--out", tmp_path / "x")
    assert code == 2 and "--freeze has no meaning without --start-from" in err
    code, _, err = call(
        "train", data, *COLUMNS, "--model", "trend", "--horizon", 7, "--start-from", tmp_path / "base", "--out", "x"
    )
    assert code == 2 and "is a fitted 'heir', and 'trend' can only start from another 'trend'" in err


def test_a_parent_is_looked_up_in_the_registry_of_the_machine(
    call: Callable[..., Called], data: Path, tracking_folder: Path, monkeypatch: pytest.MonkeyPatch, fakes: None
) -> None:
    monkeypatch.setenv("TSF_MLRUNS", str(tracking_folder))
    heir = ("--model", "heir", "--horizon", 7, "--start-from", "base@champion")
    code, _, err = call("train", data, *COLUMNS, *heir, "--out", data.parent / "x")
    assert (
        code == 2
        and "--start-from 'base@champion' is no folder (base@champion), nor registered: no registered model 'base'" in err
    )


def test_a_forecast_by_fallback_is_said_beside_it(call: Callable[..., Called], data: Path, tmp_path: Path, fakes: None) -> None:
    frame = pd.read_csv(data).replace({"shop": {"b": "007"}})
    frame.to_csv(data, index=False)
    faller = (*COLUMNS, "--model", "faller", "--horizon", 7)
    call("train", data, *faller, "--out", tmp_path / "m")
    code, out, err = call("forecast", tmp_path / "m", data, *COLUMNS)
    assert code == 0 and len(out.splitlines()) == 15
    assert err == "tsforecast: 1 of 2 series by fallback: '007': no root found, seasonal naive instead\n"
    _, out, _ = call("backtest", data, *faller, "--folds", 1)
    assert "  scored by fallback: 007 at 2024-02-22: no root found, seasonal naive instead\n" in out
