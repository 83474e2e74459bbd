"""Raw frame + [source.types] of a recipe -> the same rows with numbers where numbers are meant, and categories one column a word.

A category among covariates becomes one column of 0 and 1 for each word seen up to the run's moment ("event=Easter"); a missing
one is none of them. A word that only the future has is refused by name: the model has learned nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.recipe import Source
from tsforecast.errors import CovariateError
from tsforecast.preprocessing.words import as_word

if TYPE_CHECKING:
    import pandas as pd

MOST_WORDS = 50  # of one category: each is a column
TRUTH = {"true": 1.0, "yes": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "no": 0.0, "0": 0.0, "0.0": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Typed:
    """Rows whose columns have their types, and the source as it names them now."""

    frame: "pd.DataFrame"
    source: Source


def words_of(frame: "pd.DataFrame", source: Source) -> dict[str, tuple[str, ...]]:
    """The words of each category among the covariates, in alphabetical order.

    Raises:
        CovariateError: there are none, or more than MOST_WORDS.
    """
    found = {}
    for name in _categories(source):
        words = sorted(set(frame[name].dropna().map(as_word)))
        if not words or len(words) > MOST_WORDS:
            raise CovariateError(
                f"category {name!r} has {len(words)} words, it needs 1 to {MOST_WORDS}; merge the rare ones, or declare it real",
                field=name,
            )
        found[name] = tuple(words)
    return found


def with_types(frame: "pd.DataFrame", source: Source, *, words: Mapping[str, tuple[str, ...]] | None = None) -> Typed:
    """The frame with the types of `source`; `words` are those known to the model, None = those of the frame.

    Raises:
        CovariateError: a value is not of its type, or a word is not known; the series and the row are named.
    """
    if not source.types:
        return Typed(frame=frame, source=source)
    known = words_of(frame, source) if words is None else words
    columns: dict[str, Any] = {}
    for name in frame.columns:
        kind = source.types.get(str(name))
        if str(name) in known:
            columns |= _one_hot(frame, str(name), known[str(name)])
        else:
            columns[name] = frame[name] if kind is None else typed_column(frame, str(name), kind)

    def expanded(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one for name in names for one in ([f"{name}={word}" for word in known[name]] if name in known else [name]))

    import pandas as pd

    return Typed(
        frame=pd.DataFrame(columns, index=frame.index),
        source=replace(
            source, covariates=expanded(source.covariates), past_covariates=expanded(source.past_covariates), types={}
        ),
    )


def typed_column(frame: "pd.DataFrame", name: str, kind: str) -> "pd.Series[Any]":
    """One column as numbers (real, boolean) or words (category).

    Raises:
        CovariateError: a value is not of that type.
    """
    import pandas as pd

    column = frame[name]
    if kind == "category":
        return column.map(as_word).where(column.notna(), None)
    read = pd.to_numeric(column, errors="coerce") if kind == "real" else column.map(str).str.strip().str.lower().map(TRUTH)
    numbers = read.astype("float64")
    wrong = np.flatnonzero((numbers.isna() & column.notna()).to_numpy())
    if len(wrong):
        wants = "a number" if kind == "real" else "true or false"
        raise _refused(frame, name, wrong, f"is not {wants}, as source.types declares")
    return numbers


def _one_hot(frame: "pd.DataFrame", name: str, words: tuple[str, ...]) -> dict[str, Any]:
    text = frame[name].map(as_word)
    there = frame[name].notna()
    unseen = np.flatnonzero((there & ~text.isin(words)).to_numpy())
    if len(unseen):
        listed = ", ".join(words[:10]) + (" …" if len(words) > 10 else "")
        raise _refused(frame, name, unseen, f"is a word the history does not have (it has {listed}); map it to one of them")
    return {f"{name}={word}": (there & (text == word)).astype("float64") for word in words}


def _refused(frame: "pd.DataFrame", name: str, rows: Any, problem: str) -> CovariateError:
    row = int(rows[0])
    series_id = str(frame["unique_id"].iloc[row]) if "unique_id" in frame else None
    at = f" at {frame['ds'].iloc[row]}" if "ds" in frame else ""
    more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
    return CovariateError(
        f"series {series_id!r}: {name!r} is {str(frame[name].iloc[row])[:40]!r}{at}{more}, which {problem}",
        series_id=series_id,
        field=name,
    )


def _categories(source: Source) -> list[str]:
    return [name for name in (*source.covariates, *source.past_covariates) if source.types.get(name) == "category"]
