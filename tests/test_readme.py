"""Every code block of the README does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tests.service.test_server import running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
MAKE = [line.split("#")[0].strip() for text in SHELL for line in text.splitlines() if line.startswith("make ")]
CURL = [text for text in SHELL if text.startswith("curl ")]
ANSWERS = [json.loads(text) for language, text in BLOCKS if language == "json"]


def the_block(language: str, starting: str = "") -> str:
    found = [text for name, text in BLOCKS if name == language and text.startswith(starting)]
    assert len(found) == 1, f"README has {len(found)} {language} blocks that start with {starting!r}"
    return found[0]


def environment() -> dict[str, str]:
    """As a user has it after `make setup`: the commands of this Python on the path, a tracking store of its own."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TSF_", "MLFLOW_"))}
    return kept | {"PATH": beside, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def shell(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", command], cwd=folder, capture_output=True, text=True, env=environment() | more, check=False
    )


def test_every_block_is_of_a_kind_that_is_tested_here():
    known = [*CURL, *(text for text in SHELL if text.startswith(("make ", "tsforecast ")))]
    assert {language for language, _ in BLOCKS} <= {"", "sh", "python", "toml", "json"}
    assert sorted(SHELL) == sorted(known)
    assert len(CURL) == len(ANSWERS) == 3


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target(command):
    """The targets themselves are what runs this suite (make test) or too long for it (make demo: see tests/pipelines)."""
    assert shutil.which("make"), "make is needed to set the project up at all"
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_block_runs(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(the_block("python", "import tsforecast\n"))
    done = shell(f"{sys.executable} -W error {script}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:5] == ["unique_id", "ds", "0.1", "0.5", "0.9"]
    assert sorted(path.name for path in (tmp_path / "model" / "co2").iterdir()) == ["manifest.json", "weights.safetensors"]


def test_python_block_with_covariates_runs(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(the_block("python", "import numpy"))
    done = shell(f"{sys.executable} -W error {script}", tmp_path)
    assert done.returncode == 0, done.stderr


def test_python_block_with_a_detector_runs(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(the_block("python", "from datetime"))
    done = shell(f"{sys.executable} -W error {script}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["start", "kind", "severity", "channels"]


def test_python_block_with_other_uses_of_detectors_runs(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(the_block("python", "from dataclasses"))
    done = shell(f"{sys.executable} -W error {script}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "2 generated beside 1 real series: passes"


def test_the_list_of_detectors_is_that_of_the_readme(tmp_path):
    done = shell("tsforecast models --task anomaly --markdown", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"<!-- detectors -->\n{done.stdout}<!-- /detectors -->" in README


def test_python_block_with_repairs_runs(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(the_block("python", "import pandas"))
    done = shell(f"{sys.executable} -W error {script}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "{'clock': 2, 'unit_jumps': 6, 'fill': 2}"


def round_numbers(value):
    """The same JSON value with its numbers to four digits, without the number of the request."""
    if isinstance(value, dict):
        return {key: round_numbers(one) for key, one in value.items() if key != "request_id"}
    if isinstance(value, list):
        return [round_numbers(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_blocks_get_the_answers_shown(tmp_path):
    with running() as (_, port):
        for command, answer in zip(CURL, ANSWERS, strict=True):
            done = shell(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), tmp_path)
            assert done.returncode == 0, done.stderr
            assert round_numbers(json.loads(done.stdout)) == round_numbers(answer)


def test_recipe_and_its_commands_run(tmp_path, tracking_folder):
    days = pd.date_range("2024-01-01", periods=90)
    rng = np.random.default_rng(0)
    sales = [{"unique_id": shop, "ds": day, "y": 20 + 5 * (day.weekday() > 4) + rng.integers(5)} for shop in "ab" for day in days]
    pd.DataFrame(sales).to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "recipe.toml").write_text(the_block("toml", "name ="))
    commands = the_block("sh", "tsforecast check")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tracking_folder / 'mlflow.db'}"}
    done = shell(commands, tmp_path, **store)
    assert done.returncode == 0, done.stdout + done.stderr
    forecast = pd.read_parquet(tmp_path / "forecast.parquet")
    assert len(forecast) == 2 * 14
    assert forecast["ds"].min() == pd.Timestamp("2024-03-31")  # --as-of is the last day seen
    assert {"0.1", "0.5", "0.9"} <= set(forecast.columns)


def test_repairs_and_features_of_a_recipe_run(tmp_path, tracking_folder):
    days = pd.date_range("2024-01-01", periods=90).delete([20, 21])
    sales = [{"unique_id": shop, "ds": day, "y": 20.0 + 5 * (day.weekday() > 4) + day.day % 3} for shop in "ab" for day in days]
    pd.DataFrame([*sales, sales[-1] | {"y": 21.0}]).to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "recipe.toml").write_text(the_block("toml", "name =") + the_block("toml", "[[repairs]]"))
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tracking_folder / 'mlflow.db'}"}
    checked = shell("tsforecast check recipe.toml --html page.html", tmp_path, **store)
    assert checked.returncode == 6, checked.stdout + checked.stderr
    assert "repaired: duplicates 1, clock 4" in checked.stdout and (tmp_path / "page.html").exists()
    done = shell("tsforecast run recipe.toml --quiet", tmp_path, **store)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    assert "repaired   clock 4, duplicates 1" in done.stdout
    assert len(pd.read_parquet(tmp_path / "forecast.parquet")) == 2 * 14


def test_model_list_names_every_model(tmp_path):
    done = shell(the_block("sh", "tsforecast models"), tmp_path)
    assert done.returncode == 0, done.stderr
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert listed == tsforecast.available_models()
    assert all(f"`{name}`" in README for name in listed)


@pytest.mark.parametrize("file", ["README.md", "docs/models.md"])
def test_tables_of_models_are_those_of_the_command(file, tmp_path):
    copy = tmp_path / "tables.md"
    copy.write_text((ROOT / file).read_text(encoding="utf-8"), encoding="utf-8")
    done = shell(f"tsforecast models --markdown > models.md; tsforecast models --write {copy}", tmp_path)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "models.md").read_text(encoding="utf-8")
    assert f"<!-- models -->\n{table}<!-- /models -->" in copy.read_text(encoding="utf-8")
    assert copy.read_text(encoding="utf-8") == (ROOT / file).read_text(encoding="utf-8"), (
        "the models have changed: tsforecast models --write README.md docs/models.md"
    )


def test_pictures_and_files_named_are_there():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:tsforecast|service|pipelines|tests)/[\w/.]+\.py)`", README):
        assert (ROOT / path).exists(), path
