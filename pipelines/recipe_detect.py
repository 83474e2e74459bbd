"""The recipe of a detection: a TOML file with a table [detect]. What it shares with a forecast's is in `recipe.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Literal

from pipelines.recipe import (
    ModelOptions,
    PanelOptions,
    Schedule,
    Source,
    Step,
    TrackingOptions,
    check_labels,
    check_plain_name,
    check_resample,
)
from pipelines.tables import read_table
from tsforecast.errors import ForecastError, RecipeError

if TYPE_CHECKING:
    from tsforecast.anomaly.alarms import AlarmRules

DEFAULT_DETECTOR = "ensemble"
DATE_LENGTH = len("2024-12-31")
EVENTS_ENDING = ".jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectOptions:
    """When a detector is fitted, and what is said of the rows that are new since the run before."""

    refit: Literal["never", "always", "on drift"] = "on drift"  # "never": once, and when its options or channels change
    level: float = 99.0  # coverage of the band, percent
    revised: bool = False  # True: events from the score that knows what came after; later and better borders
    events: str | None = None  # JSON-lines file of all events of all runs, relative to the recipe's folder; {recipe} is filled in

    def __post_init__(self) -> None:
        if not 0 < self.level < 100:
            raise RecipeError(f"level is a coverage in percent, between 0 and 100, got {self.level:g}", field="level")
        if self.events is not None and not self.events.lower().endswith(EVENTS_ENDING):
            raise RecipeError(f"events is a file of JSON lines that ends in {EVENTS_ENDING}, got {self.events!r}", field="events")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackOptions:
    """What people said of alarms: rows of unique_id, start, end (both inclusive) and label (true = it was one)."""

    path: str  # .csv, .parquet or .jsonl (the service's), relative to the recipe's folder; one that is not there yet says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectRecipe:
    """One run of a detection, as data."""

    name: str  # names the run folder, the experiment and the registered model
    source: Source  # target and past_covariates are the channels
    detect: DetectOptions
    alarms: Mapping[str, Any] = field(default_factory=dict)  # fields of tsforecast.anomaly.alarms.AlarmRules
    models: tuple[ModelOptions, ...] = (ModelOptions(name=DEFAULT_DETECTOR),)  # the first one alarms, the others stand beside it
    seed: int = 0
    panel: PanelOptions = field(default_factory=PanelOptions)
    repairs: tuple[Step, ...] = ()
    feedback: FeedbackOptions | None = None
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_plain_name(self.name, "name")
        if not self.models:
            raise RecipeError("models is empty; leave it out, or add a [[models]] table with a name", field="models")
        if self.source.covariates:
            raise RecipeError(
                "source.covariates have no meaning for a detector; columns that are judged together go into past_covariates",
                field="source.covariates",
            )
        check_resample(self.source, self.panel, self.repairs)
        check_labels(self.models)
        for i, model in enumerate(self.models):
            if model.start_from is not None:
                message = f"models[{i}].start_from has no meaning for a detector, which is fitted anew; leave it out"
                raise RecipeError(message, field=f"models[{i}].start_from")

    @property
    def rules(self) -> "AlarmRules":
        """The rules by which alarms become events.

        Raises:
            RecipeError: [alarms] has an unknown key or a bad value.
        """
        return alarm_rules(self.alarms, file=self.name)


def alarm_rules(table: Mapping[str, Any], *, file: str) -> "AlarmRules":
    """AlarmRules from a table of a recipe, or of the command line.

    Raises:
        RecipeError: an unknown key, or a bad value; it names `file`.
    """
    from tsforecast.anomaly.alarms import AlarmRules

    kept = {key: value for key, value in table.items() if key != "ignore"}
    rules = read_table(AlarmRules, kept, file=file, at="alarms")
    windows = table.get("ignore", [])
    try:
        pairs = [(first, _whole_day(last)) for first, last in windows]
        return replace(rules, ignore=tuple(pairs))
    except ForecastError as error:
        raise RecipeError(f"{file}: {error}", field="alarms.ignore") from error
    except (TypeError, ValueError) as error:
        message = f"{file}: alarms.ignore must be a list of [first, last], each a timestamp or a step, got {windows!r}"
        raise RecipeError(message, field="alarms.ignore") from error


def _whole_day(last: Any) -> Any:
    """The end of the day where a window ends on a date without a time."""
    if isinstance(last, str) and len(last.strip()) == DATE_LENGTH:
        return f"{last.strip()}T23:59:59.999999"
    is_date = isinstance(last, date) and not isinstance(last, datetime)
    return datetime.combine(last, time.max) if is_date else last
