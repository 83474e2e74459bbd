"""Every error a caller may want to catch.

ForecastError
    DataError                  the caller's series are wrong            (service answers 422)
        SchemaError                a column is missing, or has the wrong type or an impossible value
        FrequencyError             steps are irregular, mixed, or cannot be told
        DuplicateError             a series has the same timestamp twice
        GapError                   timestamps are missing inside a series
        HistoryTooShort            fewer observations than the model or the step needs
        TransformError             a value lies outside the domain of a transform
        CovariateError             covariates are missing, unknown, or do not reach over the horizon
    ModelError                 this model cannot do what is asked       (409, or as said)
        UnknownModel               no model of that name                    (404)
        OptionError                an option does not exist or has a bad value  (422)
        HorizonError               the horizon is not positive, or longer than the model's  (422)
        TrainingDiverged           the loss became infinite or NaN          (409)
        ArtifactError              a stored model cannot be loaded          (500)
        NotBetter                  a promotion was refused                  (409)
    RecipeError                a recipe file has an unknown key or a bad value  (exit code 2)
    TrackingError              the tracking store cannot be used            (503)

Every message says what is wrong, which series and field, what was found, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """ "; did you mean …?" for the middle of a message, or nothing."""
    near = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class ForecastError(Exception):
    """Base of all errors raised on purpose by this library.

    `series_id` and `field` name the culprit where there is one; a service copies them into its answer.
    """

    def __init__(self, message: str, *, series_id: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.series_id = series_id
        self.field = field


class DataError(ForecastError):
    """The input series break the contract of `Panel`."""


class SchemaError(DataError):
    """A column is missing, or has the wrong type or an impossible value."""


class FrequencyError(DataError):
    """The steps of a series are irregular, mixed, or too few to tell the step."""


class DuplicateError(DataError):
    """A series has two rows for the same timestamp."""


class GapError(DataError):
    """Timestamps are missing inside a series."""


class HistoryTooShort(DataError):
    """A series has fewer observations than the model needs."""

    def __init__(self, series_id: str, *, have: int, need: int, hint: str = "") -> None:
        message = f"series {series_id!r} has {have} observations, the model needs at least {need}"
        super().__init__(f"{message}; {hint}" if hint else message, series_id=series_id, field="target")
        self.have, self.need = have, need


class TransformError(DataError):
    """A value lies outside the domain of a transform, such as a negative one under log1p."""


class CovariateError(DataError):
    """Covariates are missing, unknown, or do not reach over the horizon."""


class ModelError(ForecastError):
    """The request cannot be served by the chosen model."""


class UnknownModel(ModelError):
    """No model of that name is registered."""


class OptionError(ModelError):
    """An option does not exist, or its value is out of range."""


class HorizonError(ModelError):
    """The horizon is not a positive number of steps, or longer than the model can reach."""


class TrainingDiverged(ModelError):
    """The loss became infinite or NaN."""


class ArtifactError(ModelError):
    """A stored model cannot be loaded."""


class NotBetter(ModelError):
    """A promotion was refused: the candidate does not beat what it has to beat."""


class RecipeError(ForecastError):
    """A recipe has an unknown key or a bad value."""


class TrackingError(ForecastError):
    """The tracking store cannot be used."""
