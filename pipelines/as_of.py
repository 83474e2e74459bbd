"""A moment as text + a raw frame -> the frame as it was at that moment.

Everything later in a run sees only what `cut` left, so a run for a past moment is the run of that day.
"""

import re
from typing import TYPE_CHECKING

from tsforecast.errors import RecipeError, SchemaError

if TYPE_CHECKING:
    import pandas as pd

ZONE = r"[T ]\d\d[\d:.]*(?:Z|[+-]\d\d(?::?\d\d)?)$"  # a time of day that ends in Z, +01, +0100 or +01:00


def canonical(text: str) -> str:
    """`text` in the one spelling that names the run: ISO 8601, or digits as they are (an integer step, or a year).

    Raises:
        RecipeError: it is neither.
    """
    import pandas as pd

    text = text.strip()
    if re.fullmatch(r"-?\d+", text):
        return text
    try:
        moment = pd.Timestamp(text)
    except (ValueError, TypeError) as error:
        raise _not_a_moment(text) from error
    if not isinstance(moment, pd.Timestamp) or text.lower() in (
        "now",
        "today",
    ):  # a run is named by its moment, so the moment must be said
        raise _not_a_moment(text)
    return str(moment.isoformat())


def _not_a_moment(text: str) -> RecipeError:
    return RecipeError(
        f"as_of must be a timestamp such as 2024-01-31 or 2024-01-31T06:00, or an integer step, got {text!r}", field="as_of"
    )


def slug(as_of: str) -> str:
    """`as_of` as the name of a folder: midnight is left out, and so are colons."""
    return as_of.removesuffix("T00:00:00").replace(":", "")


def parse_times(frame: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """`frame` with text in `column` turned into timestamps; numbers and timestamps stay as they are, and what is missing.

    Raises:
        SchemaError: a text is no timestamp.
    """
    import pandas as pd

    times = frame[column]
    if pd.api.types.is_numeric_dtype(times) or pd.api.types.is_datetime64_any_dtype(times):
        return frame
    zoned = times.astype("string").str.contains(ZONE, regex=True, na=False).to_numpy(dtype=bool)
    parsed = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601")
    there = times.notna().to_numpy(dtype=bool)
    unread = parsed.isna().to_numpy() & there
    mixed = zoned.any() and not zoned[there].all()
    wrong = unread | (~zoned & there) if mixed else unread
    if wrong.any():
        row = int(wrong.argmax())
        what = "is no ISO 8601 timestamp" if unread[row] else "has no zone while others have one"
        text = repr(times.iloc[row])
        hint = "write 2024-01-31 or 2024-01-31T06:00:00"
        raise SchemaError(f"column {column!r}, row {row}: {text} {what}; {hint}", field=column)
    if not zoned.any():
        parsed = parsed.dt.tz_localize(None)
    return frame.assign(**{column: parsed})


def cut(frame: "pd.DataFrame", column: str, as_of: str) -> "pd.DataFrame":
    """The rows of `frame` whose `column` is not later than `as_of`, and those without a moment, for others to name.

    A moment with an offset is compared as an instant where the column has a zone, by its wall clock where it has none;
    a moment without offset is read in the zone of the column.

    Raises:
        RecipeError: the column holds integer steps and `as_of` is no integer.
        SchemaError: no row is left.
    """
    limit = _limit(frame, column, as_of)
    kept = frame[~(frame[column] > limit)]
    if len(frame) and not len(kept):
        raise SchemaError(
            f"no row is as old as {as_of}: column {column!r} begins at {frame[column].min()}; choose a later --as-of",
            field=column,
        )
    return kept


def later(frame: "pd.DataFrame", column: str, as_of: str) -> "pd.DataFrame":
    """The rows that `cut` leaves out."""
    return frame[frame[column] > _limit(frame, column, as_of)]


def latest(frame: "pd.DataFrame", column: str) -> str:
    """The last moment in `column`, in canonical spelling.

    Raises:
        SchemaError: the frame is empty.
    """
    if not len(frame):
        raise SchemaError("the source has no rows; check source.path or source.query", field=column)
    last = frame[column].max()
    return canonical(str(last))


def _limit(frame: "pd.DataFrame", column: str, as_of: str) -> "int | pd.Timestamp":
    import pandas as pd

    if pd.api.types.is_numeric_dtype(frame[column]):
        try:
            return int(as_of)
        except ValueError as error:
            raise RecipeError(
                f"column {column!r} counts integer steps, so as_of must be an integer too, got {as_of!r}", field="as_of"
            ) from error
    moment = pd.Timestamp(as_of)
    zone = getattr(frame[column].dtype, "tz", None)
    if zone is None:
        return moment.tz_localize(None)
    return moment.tz_localize(zone) if moment.tz is None else moment.tz_convert(zone)
