"""A TOML file -> Recipe, or DetectRecipe: everything a run needs to know, checked before any work begins.

Reading a recipe loads neither torch nor pandas; whether models, steps and their options exist is asked by `flows.py`.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from pipelines.environment import secret_in
from pipelines.tables import read_table, rest
from tsforecast.errors import RecipeError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, check_quantile_levels
from tsforecast.nn.config import TrainConfig

if TYPE_CHECKING:
    from pipelines.recipe_detect import DetectRecipe

COLUMN_TYPES = ("real", "category", "boolean")
BASELINE = "seasonal_naive"  # what a model must beat to be promoted
Metric = Literal["mae", "rmse", "smape", "wape", "mase", "rmsse", "owa", "pinball", "wql", "crps", "msis_80"]  # lower is better


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the series come from; `kind` says which of the fields below it count."""

    kind: Literal["dataset", "csv", "parquet", "sql"]
    name: str | None = None  # dataset: as in tsforecast.datasets
    path: str | None = None  # csv, parquet: relative to the recipe's folder
    url: str | None = None  # sql: SQLAlchemy URL, its password as ${NAME}
    query: str | None = None  # sql: one SELECT
    id: str = "unique_id"  # column that names the series
    time: str = "ds"  # column of timestamps or integer steps
    target: str = "y"
    series: str | None = None  # name of the only series, for data without an id column
    covariates: tuple[str, ...] = ()  # columns known in the future too; their rows after as_of are read, the target's not
    past_covariates: tuple[str, ...] = ()  # columns known up to the present only, cut at as_of as the target is
    static_path: str | None = None  # CSV or Parquet with one row per series, ids in column `id`; relative to the recipe's folder
    static_columns: tuple[str, ...] = ()  # of static_path, () = all; without it, columns of the source, constant in a series
    types: Mapping[str, Any] = field(default_factory=dict)  # covariate or static column -> "real" | "category" | "boolean"
    label: str | None = None  # column of 1 = known to be anomalous, else 0: what a detector is scored against, and never sees

    def __post_init__(self) -> None:
        for column, kind in self.types.items():
            if kind not in COLUMN_TYPES:
                raise RecipeError(f"types.{column} must be one of {', '.join(COLUMN_TYPES)}, got {kind!r}", field="types")
            named = (*self.covariates, *self.past_covariates, *self.static_columns)
            if column not in named and (self.static_path is None or self.static_columns):
                raise RecipeError(
                    f"types names column {column!r}, which is no covariate and not static; name it in covariates, "
                    "past_covariates or static_columns too",
                    field="types",
                )
        _needs(self, {"dataset": ("name",), "csv": ("path",), "parquet": ("path",), "sql": ("url", "query")})
        _no_password(self.url)
        self._check_roles()

    def _check_roles(self) -> None:
        """Refuse a column that is to be two things, or that has a name which another column gets within."""
        inner = {"unique_id": self.id, "ds": self.time, "y": self.target}
        label = () if self.label is None else (self.label,)
        roles = [("time", self.time), ("target", self.target)]
        roles += [("covariates", name) for name in self.covariates] + [("past_covariates", name) for name in self.past_covariates]
        roles += [("label", name) for name in label]
        taken = {self.id: "id"}
        for role, name in roles:
            if name in taken and taken[name] != role:
                raise RecipeError(f"{role} {name!r} is the column of {taken[name]} too; name another one", field=role)
            if role not in ("time", "target") and name in inner:
                raise RecipeError(
                    f"{role} {name!r} has the name that column {inner[name]!r} gets here; rename it in the data", field=role
                )
            taken[name] = role

    def known_so_far(self) -> tuple[str, ...]:
        """Columns of a panel beside the target that have no future: past covariates, then the labels if there are any."""
        return self.past_covariates if self.label is None else (*self.past_covariates, self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resample:
    """To a coarser or a regular clock. The last step of a series may hold part of its rows: let as_of end with a step."""

    freq: str | int  # pandas offset alias | steps
    how: Literal["sum", "mean", "median", "min", "max", "first", "last"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelOptions:
    """How rows become a panel."""

    freq: str | int | None = None  # pandas offset alias | steps of an integer clock; None = told from the data
    season: int | Literal["auto"] | None = None  # steps; "auto" = found in the data; None = from freq
    missing_steps: Literal["error", "insert"] = "error"  # missing timestamps inside a series: refuse | add without a value
    tz: str | None = None  # zone of the wall clock, as "Europe/Berlin"; local times are read on it, others moved to it
    resample: Resample | None = None  # after repairs of rows, before those of values; in place of freq

    def __post_init__(self) -> None:
        check_positive(self, "season", "freq")
        if self.resample is not None and self.freq is not None:
            raise RecipeError("freq has no meaning beside resample.freq, which says the steps; leave it out", field="freq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One repair, transform or feature; the other keys of its table are the options of its class."""

    name: str
    options: Mapping[str, Any] = rest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastOptions:
    """What is asked of the champion."""

    horizon: int  # steps
    quantile_levels: tuple[float, ...] = DEFAULT_QUANTILE_LEVELS

    def __post_init__(self) -> None:
        check_positive(self, "horizon")
        check_quantile_levels(self.quantile_levels)


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestOptions:
    """How models are compared."""

    folds: int = 3  # origins
    step: int | None = None  # steps between origins; None = horizon
    refit: bool = False  # True: train anew at each origin; False: train once, before the first
    metric: Metric = "mase"  # decides who becomes champion

    def __post_init__(self) -> None:
        check_positive(self, "folds", "step")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """One model of the comparison."""

    name: str  # as in the registry
    label: str = ""  # its name in this recipe; "" = name
    options: Mapping[str, Any] = field(default_factory=dict)  # fields of its class
    train: TrainConfig = field(default_factory=TrainConfig)
    start_from: str | None = None  # fitted model whose weights are tuned on: name, name@alias, name/version, or its folder
    freeze: int | None = None  # epochs of the head alone at the beginning; None = a quarter of them

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)
        check_plain_name(self.label, "label")
        if "." in self.label:  # the name of a file is label.kind
            raise RecipeError(f"label becomes the beginning of file names and has no '.', got {self.label!r}", field="label")
        if self.train.checkpoint_dir is not None:
            raise RecipeError("train.checkpoint_dir is the run folder's in a recipe; leave it out", field="train.checkpoint_dir")
        check_freeze(self.freeze, self.start_from)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sink:
    """Where forecasts go beside the run folder."""

    kind: Literal["parquet", "csv", "sql"]
    path: str | None = None  # parquet, csv: relative to the recipe's folder; {recipe} and {as_of} are filled in
    url: str | None = None  # sql: SQLAlchemy URL, its password as ${NAME}
    table: str | None = None  # sql: made when missing; rows of the same recipe and as_of are replaced

    def __post_init__(self) -> None:
        _needs(self, {"csv": ("path",), "parquet": ("path",), "sql": ("url", "table")})
        _no_password(self.url)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingOptions:
    """Where MLflow is; without this table, the local store."""

    enabled: bool = True  # False: nothing is tracked or registered; a champion is one of the run folder only
    uri: str | None = None  # sqlite:///… or a server's URL; None = the machine's default
    experiment: str | None = None  # None = the recipe's name
    registered_name: str | None = None  # None = the recipe's name

    def __post_init__(self) -> None:
        _no_password(self.uri, "uri")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When `tsforecast schedule` runs the recipe."""

    cron: str  # minute hour day month weekday, as crontab reads them
    timezone: str = "UTC"  # IANA name

    def __post_init__(self) -> None:
        if len(self.cron.split()) != 5:
            raise RecipeError(f"cron must have five fields, minute hour day month weekday, got {self.cron!r}", field="cron")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise RecipeError(
                f"timezone must be an IANA name such as Europe/Berlin, got {self.timezone!r}", field="timezone"
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One run, as data."""

    name: str  # names the run folder, the experiment and the registered model
    source: Source
    forecast: ForecastOptions
    models: tuple[ModelOptions, ...]
    seed: int = 0
    panel: PanelOptions = field(default_factory=PanelOptions)
    repairs: tuple[Step, ...] = ()  # clock, fill, outliers … on the whole history up to as_of, before it becomes the panel
    features: tuple[Step, ...] = ()  # calendar, holidays, lags … as columns beside y, made by each model's flow
    steps: tuple[Step, ...] = ()  # fill, scale … as each model's fit sees them, so a backtest does not look ahead
    postprocess: tuple[str, ...] = ()
    backtest: BacktestOptions = field(default_factory=BacktestOptions)
    sink: Sink | None = None
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_plain_name(self.name, "name")
        if not self.models:
            raise RecipeError("models is empty; add a [[models]] table with a name", field="models")
        if self.source.label is not None:
            raise RecipeError("source.label has no meaning without [detect]; leave it out", field="source.label")
        check_resample(self.source, self.panel, self.repairs)
        check_labels(self.models)

    def contenders(self) -> tuple[ModelOptions, ...]:
        """The models to train, with the baseline among them: without it nothing could be promoted."""
        if any(model.name == BASELINE for model in self.models):
            return self.models
        return (ModelOptions(name=BASELINE), *self.models)

    def baseline(self) -> ModelOptions:
        """The contender that a model must beat."""
        return next(model for model in self.contenders() if model.name == BASELINE)


def check_resample(source: Source, panel: PanelOptions, repairs: tuple[Step, ...]) -> None:
    """Refuse columns beside the target where the clock becomes coarser.

    Raises:
        RecipeError: there are such columns.
    """
    coarser = ["panel.resample"] if panel.resample is not None else []
    coarser += [f"repairs[{i}] (resample)" for i, step in enumerate(repairs) if step.name == "resample"]
    for name in ("covariates", "past_covariates", "label", *([] if source.static_path else ["static_columns"])):
        if coarser and getattr(source, name):
            message = f"{coarser[0]} keeps the target only; leave source.{name} out, or resample the source before"
            raise RecipeError(message, field=coarser[0].partition(" ")[0])


def check_labels(models: "tuple[ModelOptions, ...]") -> None:
    """Refuse two models of one label.

    Raises:
        RecipeError: there are two.
    """
    labels = [model.label for model in models]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise RecipeError(f"models has {twice!r} twice; give one of them another label", field="models")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeFile:
    """A recipe and where it was read."""

    recipe: "Recipe | DetectRecipe"
    path: Path
    text: str

    @property
    def folder(self) -> Path:
        """Relative paths of the recipe begin here."""
        return self.path.resolve().parent


def read_recipe(path: str | Path) -> RecipeFile:
    """Read and check a recipe.

    Raises:
        RecipeError: no such file, no TOML, an unknown key, or a value of the wrong type or range.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; give the path of a recipe.toml"
        ) from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    if "detect" not in table:
        return RecipeFile(recipe=read_table(Recipe, table, file=path.name), path=path, text=text)
    from pipelines.recipe_detect import DetectRecipe

    if "forecast" in table:
        message = f"{path.name}: [detect] and [forecast] are two recipes; write two files, they may share the source"
        raise RecipeError(message, field="detect")
    return RecipeFile(recipe=read_table(DetectRecipe, table, file=path.name), path=path, text=text)


def fingerprint(*parts: Any) -> str:
    """A short name for values that JSON can hold: equal values, equal name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)


def _needs(owner: Source | Sink, needed: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse an owner that lacks a field of its kind, or has one of another kind."""
    mine = needed[owner.kind]
    for name in mine:
        if not getattr(owner, name):
            raise RecipeError(f"{name} is missing, kind = {owner.kind!r} needs it", field=name)
    for name in sorted({name for names in needed.values() for name in names} - set(mine)):
        if getattr(owner, name) is not None:
            raise RecipeError(f"{name} has no meaning for kind = {owner.kind!r}, which takes {' and '.join(mine)}", field=name)


def check_positive(owner: object, *names: str) -> None:
    """Refuse whole numbers below 1.

    Raises:
        RecipeError: there is one.
    """
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, int) and value < 1:
            raise RecipeError(f"{name} must be at least 1, got {value}", field=name)


def check_freeze(freeze: int | None, start_from: str | None) -> None:
    """Refuse to freeze what starts from nothing.

    Raises:
        RecipeError: freeze is negative, or there is no start_from.
    """
    if freeze is None:
        return
    if start_from is None:
        raise RecipeError("freeze has no meaning without start_from, the model whose weights are kept at first", field="freeze")
    if freeze < 0:
        raise RecipeError(f"freeze must be 0 or more epochs, got {freeze}", field="freeze")


def check_plain_name(text: str, name: str) -> None:
    """Refuse what cannot be the name of a folder.

    Raises:
        RecipeError: it has other characters.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise RecipeError(
            f"{name} becomes the name of a folder: letters, digits, '_', '-' and '.' only, beginning with a letter or digit, "
            f"got {text!r}",
            field=name,
        )


def _no_password(url: str | None, name: str = "url") -> None:
    if url and secret_in(url):
        raise RecipeError(
            f"{name} has a password in it; write ${{NAME}} in its place and set NAME in the environment", field=name
        )
