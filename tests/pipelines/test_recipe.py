"""A TOML file becomes a recipe, or an error that names the key, the file and the way out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.recipe import ModelOptions, PanelOptions, RecipeFile, read_recipe
from tsforecast.errors import RecipeError

GOOD = """
name = "demand"
[source]
kind = "csv"
path = "d.csv"
[forecast]
horizon = 14
[[models]]
name = "gru"
options = { hidden = 32 }
train = { max_epochs = 3, learning_rate = 1 }
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], RecipeFile]:
    def read(text: str) -> RecipeFile:
        (tmp_path / "demand.toml").write_text(text)
        return read_recipe(tmp_path / "demand.toml")

    return read


def test_a_recipe_says_what_it_does_not_say_by_defaults(read: Callable[[str], RecipeFile]) -> None:
    recipe = read(GOOD).recipe
    assert recipe.source.target == "y"
    assert recipe.panel == PanelOptions()
    assert recipe.forecast.quantile_levels == (0.1, 0.5, 0.9)
    assert recipe.models[0].options == {"hidden": 32}
    assert recipe.models[0].train.max_epochs == 3
    assert recipe.models[0].train.learning_rate == 1.0 and isinstance(recipe.models[0].train.learning_rate, float)
    assert recipe.tracking.enabled and recipe.sink is None and recipe.schedule is None


def test_the_keys_of_a_step_beside_its_name_are_its_options(read: Callable[[str], RecipeFile]) -> None:
    recipe = read(GOOD + "[[steps]]\nname = 'scale'\nmethod = 'zscore'\n[[steps]]\nname = 'log1p'\n").recipe
    assert [(step.name, step.options) for step in recipe.steps] == [("scale", {"method": "zscore"}), ("log1p", {})]


def test_the_baseline_runs_whether_the_recipe_names_it_or_not(read: Callable[[str], RecipeFile]) -> None:
    assert [model.label for model in read(GOOD).recipe.contenders()] == ["seasonal_naive", "gru"]
    named = read(GOOD + '[[models]]\nname = "seasonal_naive"\nlabel = "naive"\n').recipe
    assert [model.label for model in named.contenders()] == ["gru", "naive"]
    assert named.baseline().label == "naive"


UNKNOWN = [
    ("seeed = 1\n" + GOOD, "demand.toml: unknown key 'seeed'; the nearest known key is 'seed' (known here: name, source, "),
    (GOOD.replace("path =", "file ="), "unknown key 'source.file'; the nearest known key is "),
    (GOOD.replace("kind", "knid"), "unknown key 'source.knid'; the nearest known key is 'source.kind'"),
    (GOOD.replace("horizon", "horizn"), "unknown key 'forecast.horizn'; the nearest known key is 'forecast.horizon'"),
    ("horizon = 3\n" + GOOD, "unknown key 'horizon'; the nearest known key is 'forecast.horizon'"),
    (
        GOOD.replace("max_epochs", "max_epoch"),
        "unknown key 'models[0].train.max_epoch'; the nearest known key is 'models[0].train.max_epochs'",
    ),
    (GOOD + "[backtest]\nfold = 1\n", "unknown key 'backtest.fold'; the nearest known key is 'backtest.folds'"),
    (GOOD + "[[models]]\nname = 'lstm'\nhidden = 3\n", "unknown key 'models[1].hidden'"),
    (GOOD + "[panel.resample]\nfreq = 'D'\nhow = 'sum'\nfill = 0\n", "unknown key 'panel.resample.fill'"),
    (GOOD + "[tracking]\nurl = 'http://x'\n", "unknown key 'tracking.url'; the nearest known key is 'source.url'"),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN)
def test_an_unknown_key_is_named_with_the_nearest_known_one(read: Callable[[str], RecipeFile], text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("demand.toml: ")


WRONG = [
    (GOOD.replace("14", '"14"'), "demand.toml: forecast.horizon must be a whole number, got a text: '14'"),
    (GOOD.replace("14", "true"), "forecast.horizon must be a whole number, got true or false: True"),
    (GOOD.replace("14", "1.5"), "forecast.horizon must be a whole number, got a number: 1.5"),
    (GOOD.replace("14", "0"), "demand.toml: forecast.horizon must be at least 1, got 0"),
    (GOOD.replace("horizon = 14", ""), "forecast.horizon is missing, it must be a whole number"),
    (GOOD.replace('name = "demand"', ""), "demand.toml: name is missing, it must be a text"),
    (GOOD.replace('"demand"', '"a/b"'), "name becomes the name of a folder: letters, digits"),
    (GOOD.replace('"csv"', '"excel"'), "source.kind must be one of 'dataset', 'csv', 'parquet', 'sql', got a text: 'excel'"),
    (GOOD.replace('path = "d.csv"', ""), "source.path is missing, kind = 'csv' needs it"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\nquery = "SELECT 1"'), "source.query has no meaning for kind = 'csv'"),
    (GOOD.replace("max_epochs = 3", "max_epochs = 0"), "models[0].train.max_epochs must be positive, got 0"),
    (GOOD.replace("max_epochs = 3", 'optimizer = "adm"'), "models[0].train.optimizer must be one of adam, adamw"),
    (GOOD.replace("max_epochs = 3", 'checkpoint_dir = "x"'), "models[0].train.checkpoint_dir is the run folder's in a recipe"),
    (GOOD.replace("learning_rate = 1", "learning_rate = inf"), "train.learning_rate must be a number, got a number: inf"),
    (GOOD.replace("{ hidden = 32 }", "3"), "models[0].options must be a table, got a whole number: 3"),
    (GOOD.replace("= 14", "= 14\nquantile_levels = [0.5, 0.1]"), "forecast.quantile_levels must ascend"),
    (GOOD.replace("= 14", "= 14\nquantile_levels = [0.5, 'a']"), "forecast.quantile_levels[1] must be a number"),
    (GOOD.replace("= 14", "= 14\nquantile_levels = 0.5"), "quantile_levels must be a list, each item a number"),
    (GOOD + '[[models]]\nname = "gru"\nlabel = "gru.series"\n', "label becomes the beginning of file names and has no '.'"),
    (GOOD + '[[models]]\nname = "gru"\n', "models has 'gru' twice; give one of them another label"),
    (GOOD.split("[[models]]")[0], "models is missing, it must be a list, each item a table"),
    ("models = []\n" + GOOD.split("[[models]]")[0], "models is empty; add a [[models]] table"),
    (GOOD + "[backtest]\nmetric = 'bias'\n", "backtest.metric must be one of 'mae', "),
    (GOOD + "[backtest]\nfolds = 0\n", "backtest.folds must be at least 1, got 0"),
    (GOOD + "[panel]\nfreq = 1.5\n", "panel.freq must be a text or a whole number, got a number: 1.5"),
    (GOOD + "[panel]\nfreq = 'D'\nresample = { freq = 'W', how = 'sum' }\n", "panel.freq has no meaning beside resample.freq"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\ncovariates = ["x"]') + "[panel.resample]\nfreq = 'W'\nhow = 'sum'\n",
     "panel.resample keeps the target only; leave source.covariates out"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\npast_covariates = ["x"]') + "[panel.resample]\nfreq = 'W'\nhow = 'sum'\n",
     "panel.resample keeps the target only; leave source.past_covariates out"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\nstatic_columns = ["x"]') + "[panel.resample]\nfreq = 'W'\nhow = 'sum'\n",
     "panel.resample keeps the target only; leave source.static_columns out"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\npast_covariates = ["ds"]'),
     "source.past_covariates 'ds' is the column of time too"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\ntarget = "unique_id"'), "source.target 'unique_id' is the column of id too"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\ntarget = "sold"\ncovariates = ["y"]'),
     "source.covariates 'y' has the name that column 'sold' gets here"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\nstatic = "x.csv"'), "unknown key 'source.static'; the nearest known key is"),
    (GOOD.replace('path = "d.csv"', 'path = "d.csv"\npast_covariates = "x"'), "source.past_covariates must be a list"),
    (GOOD + '[[models]]\nname = "lstm"\nfreeze = 2\n', "models[1].freeze has no meaning without start_from"),
    (GOOD + '[[models]]\nname = "lstm"\nstart_from = "a"\nfreeze = -1\n', "models[1].freeze must be 0 or more epochs, got -1"),
    (GOOD + '[[models]]\nname = "lstm"\nstart_from = 3\n', "models[1].start_from must be a text, got a whole number: 3"),
    (GOOD + "[schedule]\ncron = '0 6 * *'\n", "schedule.cron must have five fields, minute hour day month weekday, got"),
    (GOOD + "[schedule]\ncron = '0 6 * * *'\ntimezone = 'Mars/Base'\n", "schedule.timezone must be an IANA name such as"),
    (GOOD + "[sink]\nkind = 'sql'\nurl = 'sqlite:///x.db'\n", "sink.table is missing, kind = 'sql' needs it"),
    (GOOD + "sink = 3\n", "models[0].sink"),
    ("name = ", "demand.toml is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_value_is_named_with_what_it_must_be(read: Callable[[str], RecipeFile], text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert message in str(caught.value)
    assert "demand.toml" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:pw1234@host/db",
        "postgresql://user:a${PW}@host/db",
        "mssql+pyodbc://host/db?password=pw1234",
    ],
)
@pytest.mark.parametrize("section", ["[source]\nkind = 'sql'\nquery = 'SELECT 1'\n", "[sink]\nkind = 'sql'\ntable = 't'\n"])
def test_a_password_in_a_recipe_is_refused_and_not_repeated(read: Callable[[str], RecipeFile], url: str, section: str) -> None:
    other = GOOD if "sink" in section else GOOD.replace('[source]\nkind = "csv"\npath = "d.csv"\n', "")
    with pytest.raises(RecipeError, match=r"url has a password in it; write \$\{NAME\} in its place") as caught:
        read(f"{other}\n{section}url = '{url}'\n")
    assert "pw1234" not in str(caught.value)


def test_a_password_that_is_a_variable_is_fine(read: Callable[[str], RecipeFile]) -> None:
    url = "postgresql://user:${PW}@host/db"
    assert read(f"{GOOD}[sink]\nkind = 'sql'\ntable = 't'\nurl = '{url}'\n").recipe.sink.url == url  # type: ignore[union-attr]


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml cannot be read: No such file or directory; give the path"):
        read_recipe(tmp_path / "nowhere.toml")


def test_every_recipe_that_comes_with_the_package_can_be_read() -> None:
    recipes = sorted((Path(__file__).parents[2] / "pipelines" / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        assert read_recipe(path).recipe.name == path.stem


def test_a_label_is_the_name_where_none_is_given() -> None:
    assert ModelOptions(name="gru").label == "gru"
    assert ModelOptions(name="gru", label="small").label == "small"
