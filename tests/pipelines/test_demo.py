"""The demo, with a recipe that takes no training: the service answers, the picture is there, nothing is left running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import demo
from pipelines.recipe import read_recipe

QUICK = """
name = "quick"
[source]
kind = "dataset"
name = "macro_quarterly"
[forecast]
horizon = 4
[[models]]
name = "seasonal_naive"
[[models]]
name = "seasonal_naive"
label = "last_value"
options = { season = 1 }
"""


@pytest.fixture
def here(tmp_path: Path, tracking_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the quick recipe and an empty tracking store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSF_MLRUNS", str(tracking_folder))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "quick.toml").write_text(QUICK)
    monkeypatch.setattr(demo, "RECIPES", (tmp_path / "quick.toml",))
    monkeypatch.setattr(sys, "argv", ["demo"])
    return tmp_path


def test_the_demo_ends_by_itself_and_can_be_run_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    out, err = capsys.readouterr()
    assert "champion   last_value (quick/2) promoted: mase" in out
    assert "POST /v1/forecast answered, quick version 2, trained until 2009-07-01" in out
    assert "\n  2009-10-01  " in out and "… 4 steps for 'realgdp'" in out
    assert "TSF_DEFAULT_MODEL=quick make serve" in out and "make mlflow" in out
    assert (here / "runs/demo/forecast.png").read_bytes().startswith(b"\x89PNG")
    assert "asking the champion of quick for 4 steps" in err
    demo._run(read_recipe(here / "quick.toml"), demo.Environment(os.environ))
    assert "quick: train has run already" in capsys.readouterr().err


def test_finished_jobs_run_anew_when_the_store_has_lost_the_champion(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, environment = read_recipe(here / "quick.toml"), demo.Environment(os.environ)
    assert not demo.has_champion("quick", environment)
    demo._run(file, environment)
    assert demo.has_champion("quick", environment)


def test_a_service_that_ends_at_once_is_said_to_have_ended(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSF_MAX_HORIZON", "none")
    with (
        pytest.raises(RuntimeError, match=r"the service ended with exit code 2; see runs/demo/service\.log"),
        demo.running_service("x"),
    ):
        pass
    assert "TSF_MAX_HORIZON must be a whole number" in (here / "runs/demo/service.log").read_text()


def test_the_service_ends_with_the_block_however_it_ends(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def ready(_address: str, service: "subprocess.Popen[bytes]", _log: Path) -> None:
        started.append(service)

    monkeypatch.setattr(demo, "wait_until_ready", ready)
    with pytest.raises(KeyboardInterrupt), demo.running_service("x"):
        raise KeyboardInterrupt
    assert started[0].returncode in (0, -15)  # asked to end, and not killed after waiting in vain


def test_the_first_recipe_of_the_demo_has_one_series_to_ask_about() -> None:
    recipe = read_recipe(Path(demo.__file__).with_name("recipes") / "demo_co2_weekly.toml").recipe
    panel = demo.panel_of_dataset(recipe)
    request = demo.request_of(recipe, panel)
    series = request["series"][0]
    assert (series["id"], series["start"], series["freq"], len(series["target"])) == ("co2", "1997-01-11", "W-SAT", 260)
    assert request["horizon"] == 26 and request["model"] == "demo_co2_weekly@champion"
    assert any(value is None for value in demo.request_of(recipe, panel.until(panel.timestamps[400]))["series"][0]["target"])
