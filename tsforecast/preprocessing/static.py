"""A frame with one row per series, or columns that are constant in each -> what a panel knows of a series as a whole."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from tsforecast.errors import CovariateError
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.columns import SHOWN, column_of, read_ids, some_rows

NUMBERS = (int, float, np.integer, np.floating, np.bool_, Decimal)  # bool is an int


def static_fields(frame: pd.DataFrame, *, id_col: str, ids: tuple[str, ...]) -> dict[str, Any]:
    """The fields `static_…` of a panel of the series `ids` (S,): numbers and truth values are reals, texts categories.

    Args:
        frame: one row per series, ids in column or index `id_col` (or in an index without a name); rows of other series
            are passed over. A frame of one row may come without ids where there is one series.
        id_col: name of the ids.
        ids: (S,)

    Raises:
        CovariateError: a series has no row or two, a value is missing, infinite or of another kind than its column.
        SchemaError: an id is missing.
    """
    features, rows = _rows_of(frame, id_col, ids)
    if not features.shape[1]:
        raise CovariateError(f"static has no column beside {id_col!r}; add features, or leave static out", field="static")
    reals: dict[str, FloatArray] = {}
    words: dict[str, list[str]] = {}
    for name in features.columns:
        column = column_of(features, name, "static").iloc[rows]  # (S,)
        if _is_numeric(column):
            reals[str(name)] = _numbers(column, ids)
        else:
            words[str(name)] = _words(column, ids)
    return {
        "static_reals": np.column_stack(list(reals.values())) if reals else None,
        "static_real_names": tuple(reals),
        "static_categories": tuple(zip(*words.values(), strict=True)),  # (S, K)
        "static_category_names": tuple(words),
    }


def constant_columns(long: pd.DataFrame, names: Sequence[str], *, codes: IntArray, ids: tuple[str, ...]) -> pd.DataFrame:
    """The columns `names` of a long frame with one row per series, its index the ids.

    Args:
        long: (N,) rows.
        names: columns that never change inside a series.
        codes: (N,) number of each row's series.
        ids: (S,)

    Raises:
        CovariateError: a column is missing, or changes inside a series.
    """
    firsts = np.unique(codes, return_index=True)[1]  # (S,)
    kept = {}
    for name in names:
        column = column_of(long, name, "static")
        try:
            marks = pd.factorize(column)[0]  # -1 = missing
        except (TypeError, ValueError, NotImplementedError) as error:
            raise CovariateError(f"{name!r} holds objects ({error}); static features are numbers or texts", field=name) from error
        for row in np.flatnonzero(marks != marks[firsts][codes])[:1]:
            first, series_id = firsts[codes[row]], ids[codes[row]]
            one, other = _shown(column.iloc[first]), _shown(column.iloc[row])
            raise CovariateError(
                f"series {series_id!r} has {one} (row {first}) and {other} (row {row}) in {name!r}, which must be the same "
                "in all rows of a series; correct it, or name it among past_covariates",
                series_id=series_id,
                field=name,
            )
        kept[name] = column.iloc[firsts].set_axis(pd.Index(ids, dtype=object))
    return pd.DataFrame(kept)


def _rows_of(frame: pd.DataFrame, id_col: str, ids: tuple[str, ...]) -> tuple[pd.DataFrame, IntArray]:
    """(the columns of features, the row of each series (S,))."""
    index = frame.index
    if id_col in frame.columns:
        column, features = column_of(frame, id_col, "id_col"), frame.drop(columns=id_col)
    elif not isinstance(index, pd.MultiIndex) and (
        index.name == id_col or (index.name is None and not isinstance(index, pd.RangeIndex))
    ):
        column, features = pd.Series(index, name=id_col), frame
    elif len(ids) == 1 and len(frame) == 1:
        return frame, np.zeros(1, dtype=np.int64)
    else:
        has = ", ".join(map(str, frame.columns[:20])) or "no columns"
        raise CovariateError(
            f"static has no column {id_col!r} and no index of that name; it has {has}; say there whose row each is",
            field="static",
        )
    codes, names = read_ids(column)
    for code in np.flatnonzero(np.bincount(codes, minlength=len(names)) > 1)[:1]:
        message = f"series {names[code]!r} has {some_rows(np.flatnonzero(codes == code))} in static; keep one for each series"
        raise CovariateError(message, series_id=names[code], field="static")
    place = {name: i for i, name in enumerate(names)}
    lacking = [one for one in ids if one not in place]
    if lacking:
        more = f", and {len(lacking) - 1} more series have none" if len(lacking) > 1 else ""
        has = ", ".join(map(repr, names[:SHOWN])) + (" …" if len(names) > SHOWN else "") if names else "no rows"
        raise CovariateError(
            f"series {lacking[0]!r} has no row in static{more}; static has {has}; add a row for each series",
            series_id=lacking[0],
            field="static",
        )
    return features, np.argsort(codes, kind="stable")[[place[one] for one in ids]]


def _is_numeric(column: pd.Series) -> bool:
    """Numbers or truth values, also as objects; a categorical never is."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    if dtype.kind in "iufb" or (isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("decimal")):
        return True
    there = column.dropna()
    return bool(len(there)) and dtype.kind == "O" and all(isinstance(one, NUMBERS) for one in there)


def _numbers(column: pd.Series, ids: tuple[str, ...]) -> FloatArray:
    """(S,), all finite."""
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    for i in np.flatnonzero(~np.isfinite(numbers))[:1]:
        raise CovariateError(
            f"series {ids[i]!r} has {_shown(column.iloc[i])} in static {column.name!r}; give every series a finite number there "
            "(the median of the others says least), or leave the column out",
            series_id=ids[i],
            field=str(column.name),
        )
    return numbers


def _words(column: pd.Series, ids: tuple[str, ...]) -> list[str]:
    """(S,), none of them empty."""
    name, categorical = column.name, isinstance(column.dtype, pd.CategoricalDtype)
    if not categorical and column.dtype.kind not in "OUT" and not isinstance(column.dtype, pd.StringDtype | pd.ArrowDtype):
        message = f"static {name!r} is of type {column.dtype}; use numbers, truth values or texts"
        raise CovariateError(message, field=str(name))
    words = []
    for series_id, value in zip(ids, column, strict=True):
        if pd.api.types.is_scalar(value) and (pd.isna(value) or value == ""):
            raise CovariateError(
                f"series {series_id!r} has no word in static {name!r}; give every series one, such as 'unknown'",
                series_id=series_id,
                field=str(name),
            )
        if not categorical and not isinstance(value, str):
            raise CovariateError(
                f"series {series_id!r} has {_shown(value)} ({type(value).__name__}) in static {name!r}, which has texts too; "
                "make all of them texts by .astype(str), or numbers by pd.to_numeric",
                series_id=series_id,
                field=str(name),
            )
        words.append(str(value))
    return words


def _shown(value: Any) -> str:
    """A value as its owner writes it."""
    if isinstance(value, str):
        return repr(value[:40])
    return "nothing" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)[:40]
