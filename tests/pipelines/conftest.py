"""Write a recipe beside its data, and run it in a folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipelines.environment import Environment
from pipelines.recipe import RecipeFile, read_recipe
from pipelines.runner import RunOptions, run_recipe
from pipelines.workspace import Workspace
from tests.pipelines.detect_cases import HEAD, data
from tests.pipelines.fakes import RECIPE, quarters, register
from tsforecast.models.registry import MODELS


@pytest.fixture(autouse=True)
def _fake_models() -> Iterator[None]:
    before = dict(MODELS["forecast"])
    register()
    yield
    MODELS["forecast"].clear()
    MODELS["forecast"].update(before)


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


@pytest.fixture
def draws() -> None:
    """The test that asks for this draws."""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., RecipeFile]:
    """Writes a recipe of a detection with its data, and reads it; its runs draw no pictures, which would take the most time."""
    if "draws" not in request.fixturenames:
        monkeypatch.setattr("pipelines.jobs.detect.draw", lambda report, path: None)

    def write(*parts: str, head: str = HEAD, frame: pd.DataFrame | None = None) -> RecipeFile:
        (data() if frame is None else frame).to_csv(tmp_path / "data.csv", index=False)
        (tmp_path / "watch.toml").write_text("\n".join([head, *parts]))
        return read_recipe(tmp_path / "watch.toml")

    return write
