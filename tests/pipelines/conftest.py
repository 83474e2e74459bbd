"""A quarterly CSV that grows by one a quarter, recipes over it, and fake models in the registry."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from pipelines.environment import Environment
from pipelines.recipe import RecipeFile, read_recipe
from pipelines.runner import RunOptions, run_recipe
from pipelines.workspace import Workspace
from tsforecast.models.registry import MODELS

FAKES = {"trend": "Trend", "broken": "Broken", "mortal": "Mortal"}

RECIPE = """
name = "quarters"
seed = 3
[source]
kind = "csv"
path = "quarters.csv"
[forecast]
horizon = 4
quantile_levels = [0.1, 0.5, 0.9]
[backtest]
folds = 2
"""
TREND = '[[models]]\nname = "trend"\n'
WRONG = '[[models]]\nname = "trend"\nlabel = "wrong"\noptions = { slope = -100.0 }\n'


def register_fakes() -> ModuleType:
    """The module of the fakes, in the registry of models; also called by driver scripts of kill tests."""
    spec = importlib.util.spec_from_file_location("fake_models", Path(__file__).with_name("fake_models.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_models"] = module
    spec.loader.exec_module(module)
    MODELS["forecast"] |= {name: f"fake_models:{kind}" for name, kind in FAKES.items()}
    return module


@pytest.fixture(autouse=True)
def _fake_models() -> Iterator[None]:
    before = dict(MODELS["forecast"])
    register_fakes()
    yield
    MODELS["forecast"].clear()
    MODELS["forecast"].update(before)
    del sys.modules["fake_models"]


def quarters(periods: int = 40) -> pd.DataFrame:
    """Series "up" is 0, 1, 2, …; series "007" is 100 more; both grow by 4 a season."""
    ds = pd.date_range("2010-01-01", periods=periods, freq="QS").strftime("%Y-%m-%d")
    values = pd.Series(range(periods), dtype=float)
    return pd.concat([pd.DataFrame({"unique_id": name, "ds": ds, "y": values + more}) for name, more in (("up", 0), ("007", 100))])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., RecipeFile]:
    """Writes a recipe with its data, and reads it."""

    def write(*parts: str, head: str = RECIPE, data: pd.DataFrame | None = None, name: str = "recipe.toml") -> RecipeFile:
        if data is not None or not (tmp_path / "quarters.csv").exists():
            (quarters() if data is None else data).to_csv(tmp_path / "quarters.csv", index=False)
        (tmp_path / name).write_text("\n".join([head, *parts]))
        return read_recipe(tmp_path / name)

    return write


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Workspace]:
    """Runs a recipe in `tmp_path`/runs; what was told is in the attribute `told`."""

    def run(file: RecipeFile, *, variables: dict[str, str] | None = None, **options: object) -> Workspace:
        told: list[str] = []
        folder = RunOptions(folder=tmp_path / "runs", **options)  # type: ignore[arg-type]
        work = run_recipe(file, options=folder, environment=Environment(variables or {}), tell=told.append)
        work.told = told  # type: ignore[attr-defined]
        return work

    return run
