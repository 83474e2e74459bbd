"""The layers are law: a module may import only modules of a lower layer, or of its own package. So are the house rules."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from tsforecast.models.base import Forecaster
from tsforecast.models.detector import Detector
from tsforecast.models.registry import MODELS, recipe_class

ROOT = Path(__file__).parents[1]
PACKAGES = ("tsforecast", "service", "pipelines")
FACE = "tsforecast"  # __init__.py itself, not what lies under it
LAYERS = [  # low to high; names on one line may not import each other
    ["tsforecast.errors"],
    ["tsforecast.panel"],
    ["tsforecast.forecast", "tsforecast.anomaly"],
    ["tsforecast.metrics"],
    ["tsforecast.preprocessing", "tsforecast.nn", "tsforecast.postprocess"],
    ["tsforecast.models", "tsforecast.decompose", "tsforecast.checking", "tsforecast.comparison"],
    ["tsforecast.steps", "tsforecast.evaluation"],
    ["tsforecast.flow"],
    [
        "tsforecast.backtest",
        "tsforecast.select",
        "tsforecast.store",
        "tsforecast.tracking",
        "tsforecast.plots",
        "tsforecast.datasets",
    ],
    ["tsforecast.plots_anomaly"],
    [FACE],
    ["service", "pipelines"],
    ["tsforecast.cli"],
]
HOMES = {  # heavy third-party package -> the only places that may import it
    "torch": ("tsforecast.nn", "tsforecast.models"),
    "lightning": ("tsforecast.nn",),
    "prophet": ("tsforecast.models.prophet_series",),
    "pytorch_forecasting": ("tsforecast.models.tft", "tsforecast.models.nhits", "tsforecast.models.ptf_deepar"),
    "mlflow": ("tsforecast.tracking",),
    "sqlalchemy": ("tsforecast.store", "pipelines"),
    "fastapi": ("service",),
    "pyarrow": ("tsforecast.preprocessing.parquet", "pipelines"),
    "starlette": ("service",),
    "uvicorn": ("service",),
    "apscheduler": ("pipelines",),
    "matplotlib": ("tsforecast.plots", "tsforecast.plots_anomaly"),
    "statsforecast": ("tsforecast.models.statistical",),
    "holidays": ("tsforecast.preprocessing.holidays", "tsforecast.models.prophet_series"),
    "statsmodels": ("tsforecast.datasets", "tsforecast.decompose"),
}
NEVER = {  # package -> what may not be imported there, lazily or not
    "tsforecast.nn": ("pandas",),  # tensors only, never frames
    "tsforecast.nn.config": ("torch",),  # options are data: recipes read them before torch is loaded
    "tsforecast.models.base": ("torch", "pandas"),
    "tsforecast.models.registry": ("torch", "pandas"),
    "tsforecast.models.seasonal_naive": ("torch", "pandas"),
    "tsforecast.models.prophet": ("torch",),
    "tsforecast.models.prophet_options": ("torch", "pandas"),
    "tsforecast.models.prophet_series": ("torch",),
}
SHARED_BY_MODELS = {
    "__init__",
    "base",
    "calibration",
    "describe",
    "detector",
    "detector_fitting",
    "detector_tape",
    "detector_windows",
    "evidence",
    "explaining",
    "feeding",
    "fitted_detector",
    "uses",
    "latent_feature",
    "impute_repair",
    "holes",
    "noise",
    "generation",
    "judging",
    "processes",
    "transfer",
    "window_arrays",
    "window_data",
    "prophet_options",
    "prophet_series",
    "ptf_adapter",
    "registry",
    "statistical",
    "stream",
    "window_detector",
    "window_forecaster",
}  # files in models/ that are no model
LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 600, 70, 9
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_name(path): path for path in FILES}
each_file = pytest.mark.parametrize("module", NAMES)


@lru_cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(NAMES[module].read_text())


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(module: str, *, for_types: bool = True) -> Iterator[str]:
    """What a module imports, anywhere in it; without `for_types` not what only a type checker reads."""
    waiting: list[ast.AST] = [tree_of(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: imports are absolute"
            for alias in node.names:  # `from package import name` may name a module
                yield f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in NAMES else str(node.module)
        if for_types or not is_type_checking(node):
            waiting.extend(ast.iter_child_nodes(node))


def lies_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def place(module: str) -> tuple[int, str]:
    """(layer, owner) of a module."""
    for layer, owners in enumerate(LAYERS):
        for owner in owners:
            if module == owner or (owner != FACE and lies_in(module, owner)):
                return layer, owner
    raise AssertionError(f"{module} has no layer yet; give it one in LAYERS (DESIGN section 3)")


# Imports


@each_file
def test_imports_point_down(module: str) -> None:
    layer, owner = place(module)
    for name in imports(module):
        if name.split(".")[0] in PACKAGES:
            below, whose = place(name)
            assert whose == owner or below < layer, f"{module} (layer {layer}) imports {name} (layer {below})"


@each_file
def test_heavy_packages_are_imported_in_their_homes_only(module: str) -> None:
    for name in imports(module, for_types=False):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or any(lies_in(module, home) for home in homes), f"{module} imports {name}; its home is {homes}"


@each_file
def test_some_packages_are_never_imported_in_some_places(module: str) -> None:
    barred = {name for package, names in NEVER.items() if lies_in(module, package) for name in names}
    assert not barred & {name.split(".")[0] for name in imports(module)}, f"{module} may import none of {barred}"


def loaded_by(statement: str, candidates: tuple[str, ...]) -> list[str]:
    code = f"import sys; {statement}; print(*[name for name in {candidates} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_library_loads_nothing_heavy_not_even_numpy() -> None:
    assert loaded_by("import tsforecast", (*HOMES, "numpy", "pandas", "scipy", "safetensors")) == []


def test_the_table_of_models_and_the_models_without_a_network_load_without_torch() -> None:
    statement = "import tsforecast.models.registry, tsforecast.models.seasonal_naive, tsforecast.models.prophet, tsforecast.flow"
    assert loaded_by(statement, tuple(HOMES)) == []


def test_the_command_line_and_recipes_load_nothing_heavy() -> None:
    assert loaded_by("import tsforecast.cli, pipelines.recipe", tuple(HOMES)) == []


# Models


def test_every_model_file_is_in_the_table_and_every_line_of_the_table_has_a_file() -> None:
    files = {path.stem for path in (ROOT / "tsforecast" / "models").glob("*.py")} - SHARED_BY_MODELS
    lines = {line.partition(":")[0] for table in MODELS.values() for line in table.values()}
    assert lines == {f"tsforecast.models.{stem}" for stem in files}


def test_no_model_imports_another_model() -> None:
    models = {line.partition(":")[0] for table in MODELS.values() for line in table.values()}
    for model in models:
        assert not (set(imports(model)) & models) - {model}, f"{model} imports another model; share through models/ or nn/"


@pytest.mark.parametrize("name", [name for table in MODELS.values() for name in table])
def test_a_line_of_the_table_leads_to_a_recipe_of_that_name(name: str) -> None:
    found = recipe_class(name)
    recipe = Detector if name in MODELS["anomaly"] else Forecaster
    assert issubclass(found, recipe) and is_dataclass(found) and found.__dataclass_params__.frozen
    assert found.name == name
    training = {"epochs", "max_epochs", "learning_rate", "batch_size", "device", "accelerator", "workers", "seed", "patience"}
    assert not training & set(found.__dataclass_fields__), "training options live in TrainConfig"


# House rules


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree_of(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_file
def test_a_module_begins_by_saying_what_it_is(module: str) -> None:
    said = ast.get_docstring(tree_of(module))
    assert said or not tree_of(module).body, f"{module} has no docstring"


@each_file
def test_files_and_functions_are_short(module: str) -> None:
    assert len(NAMES[module].read_text().splitlines()) <= LONGEST_FILE
    for function in functions(module):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= LONGEST_FUNCTION, f"{module}.{function.name} has {lines} lines"
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        given = [argument for argument in arguments if argument.arg not in ("self", "cls")]
        assert len(given) <= MOST_ARGUMENTS, f"{module}.{function.name} has {len(given)} arguments"


@each_file
def test_no_module_is_a_drawer_of_odds_and_ends(module: str) -> None:
    assert module.rpartition(".")[2] not in ("utils", "util", "helpers", "common", "misc")


@each_file
def test_a_silenced_warning_says_why(module: str) -> None:
    lines = NAMES[module].read_text()
    for token in tokenize.generate_tokens(io.StringIO(lines).readline):
        for mark in ("type: ignore", "noqa"):
            if token.type == tokenize.COMMENT and token.string.startswith(f"# {mark}"):
                _, _, reason = token.string[2:].partition("#")
                assert len(reason.split()) >= 2, f"{module} line {token.start[0]}: {token.string!r} gives no reason"


PICKLES = {("pickle",), ("cloudpickle",), ("dill",), ("joblib",), ("shelve",), ("torch", "save"), ("torch", "load")}


@each_file
def test_nothing_is_written_or_read_as_a_pickle(module: str) -> None:
    for name in imports(module):
        assert (name.split(".")[0],) not in PICKLES, f"{module} imports {name}"
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in PICKLES, f"{module} line {node.lineno} calls {node.value.id}.{node.attr}"


@pytest.mark.parametrize("module", [name for name in NAMES if lies_in(name, "tsforecast")])
def test_the_library_draws_from_generators_it_is_given_a_seed_for(module: str) -> None:
    """`numpy.random.default_rng` and `torch` under `fork_rng` only: the global numpy and python generators are not ours."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random"):
            assert node.attr in ("default_rng", "Generator"), f"{module} line {node.lineno}: np.random.{node.attr} is global"
    assert "random" not in set(imports(module)), f"{module} imports the global random module"
