"""Clean panels of many kinds, and the faults that can be planted in them, each under the name of what a check should find."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

SHAPES = ("seasonal", "trend", "multiplicative", "counts", "intermittent", "random_walk", "noise", "lognormal")
FREQS = {"h": (24, 400), "D": (7, 200), "W-SUN": (52, 220), "MS": (12, 96), "QS-JAN": (4, 40), "30min": (48, 480), "B": (5, 160)}


def values(shape: str, rows: int, season: int, rng: np.random.Generator) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """(rows,) of a series without faults."""
    steps = np.arange(rows)
    wave = np.sin(2 * np.pi * steps / season) + 0.3 * np.cos(4 * np.pi * steps / season)
    noise = rng.normal(0, 1, rows)
    if shape == "seasonal":
        return 100 + 20 * wave + 3 * noise
    if shape == "trend":
        return 50 + 0.5 * steps + 5 * wave + 2 * noise
    if shape == "multiplicative":
        return np.exp(3 + 2 * steps / rows + 0.4 * wave + 0.05 * noise)
    if shape == "counts":
        return rng.poisson(np.exp(2.5 + 0.5 * wave)).astype(np.float64)
    if shape == "intermittent":
        return np.where(rng.random(rows) < 0.3, rng.geometric(0.3, rows), 0).astype(np.float64)
    if shape == "random_walk":
        return 200 + np.cumsum(noise)
    if shape == "lognormal":
        return np.exp(2 + 0.5 * noise)
    return 10 * noise


def clean(shape: str = "seasonal", freq: str = "h", *, series: int = 4, seed: int = 0, rows: int | None = None) -> pd.DataFrame:
    """unique_id, ds, y of a panel without faults."""
    season, usual = FREQS[freq]
    rng = np.random.default_rng(seed)
    length = rows or usual
    times = pd.date_range("2023-01-02", periods=length, freq=freq)
    pieces = [pd.DataFrame({"unique_id": f"s{i}", "ds": times, "y": values(shape, length, season, rng)}) for i in range(series)]
    return pd.concat(pieces, ignore_index=True)


# Faults: each takes a clean panel of four hourly series "s0" … "s3" of 400 rows and plants one, in series "s1" where it can.
# It gives back the frame and what `check` is to be told beside it.

Planted = tuple[pd.DataFrame, dict[str, Any]]
BEGIN, ROWS = 400, 400  # rows of "s1"


def _set(frame: pd.DataFrame, rows: slice | list[int], change: Callable[[Any], Any]) -> Planted:
    """With other values in rows of "s1", counted from its first."""
    y = frame["y"].to_numpy().copy()
    mine = y[BEGIN : BEGIN + ROWS]
    mine[rows] = change(mine[rows])
    return frame.assign(y=y), {}


def _at(frame: pd.DataFrame, column: str, rows: list[int], value: Any) -> Planted:
    """With objects in some rows of "s1"."""
    cells = frame[column].astype(object).to_numpy().copy()
    cells[[BEGIN + row for row in rows]] = value
    return frame.assign(**{column: pd.Series(cells, dtype=object)}), {}


def _without(frame: pd.DataFrame, rows: list[int]) -> Planted:
    return frame.drop(index=[BEGIN + row for row in rows]), {}


def _again(frame: pd.DataFrame, rows: list[int], add: float) -> Planted:
    more = frame.iloc[[BEGIN + row for row in rows]]
    return pd.concat([frame, more.assign(y=more["y"] + add)], ignore_index=True), {}


def _other_frequency(frame: pd.DataFrame) -> Planted:
    mine = frame[frame["unique_id"] == "s1"]
    coarse = mine.assign(ds=pd.date_range("2023-01-02", periods=len(mine), freq="D"))
    return pd.concat([frame[frame["unique_id"] != "s1"], coarse], ignore_index=True), {}


def _off_clock(frame: pd.DataFrame) -> Planted:
    ds = frame["ds"].copy()
    ds.iloc[BEGIN + 10] += pd.Timedelta("7min")
    return frame.assign(ds=ds), {}


def _sparse(frame: pd.DataFrame) -> Planted:
    return frame.groupby("unique_id").head(1).reset_index(drop=True), {}


def _out_of_order(frame: pd.DataFrame) -> Planted:
    order = np.arange(len(frame))
    order[[BEGIN + 10, BEGIN + 11]] = order[[BEGIN + 11, BEGIN + 10]]
    return frame.iloc[order], {}


def _counted(frame: pd.DataFrame, rows: list[int], change: Callable[[Any], Any]) -> Planted:
    return _set(clean("counts"), rows, change)


def _ended(frame: pd.DataFrame) -> Planted:
    return _without(frame, list(range(200, ROWS)))


def _late(frame: pd.DataFrame) -> Planted:
    return _without(frame, list(range(200)))


def _zones(frame: pd.DataFrame, series: list[str], zone: str | None) -> Planted:
    """Hours of Europe/Berlin, those of `series` from row 200 on in another zone or none."""
    cells = frame["ds"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin").astype(object).to_numpy().copy()
    late = frame.groupby("unique_id").cumcount().to_numpy() >= (200 if len(series) == 1 else 0)
    for row in np.flatnonzero(frame["unique_id"].isin(series).to_numpy() & late):
        cells[row] = cells[row].tz_localize(None) if zone is None else cells[row].tz_convert(zone)
    return frame.assign(ds=pd.Series(cells, dtype=object)), {}


def local_hours(zone: str, year: int, *, days: int = 365) -> pd.DataFrame:
    """What clocks in `zone` show from hour to hour for a year, written without their offset."""
    hours = pd.date_range(f"{year}-01-01", periods=24 * days, freq="h", tz="UTC").tz_convert(zone).tz_localize(None)
    return pd.DataFrame({"unique_id": "s1", "ds": hours, "y": values("seasonal", len(hours), 24, np.random.default_rng(0))})


def _with_covariate(frame: pd.DataFrame, make: Callable[[Any, Any], Any], *, past: bool = False) -> Planted:
    """With column "x" made of (y (4, 400), random numbers (4, 400))."""
    noise = np.random.default_rng(1).normal(0, 1, (4, ROWS))
    x = make(frame["y"].to_numpy().reshape(4, ROWS), noise).ravel()
    return frame.assign(x=x), {"past_covariates" if past else "covariates": ["x"]}


def _next_target(y: Any, noise: Any) -> Any:
    return np.roll(y, -1, axis=1) + 0.1 * noise


def _holed(y: Any, noise: Any) -> Any:
    noise[1, 5:8] = np.nan
    return noise


def _future_frame(frame: pd.DataFrame) -> Planted:
    planted, asked = _with_covariate(frame, lambda y, noise: noise)
    future = pd.date_range("2023-01-02", periods=ROWS + 6, freq="h")[ROWS:]
    rows = pd.DataFrame({"unique_id": np.repeat(["s0", "s1", "s2", "s3"], 6), "ds": np.tile(future, 4), "x": 1.0})
    return planted, {**asked, "future": rows.drop(index=[6 + 2]), "horizon": 6}


def _future_rows(frame: pd.DataFrame) -> Planted:
    planted, asked = _with_covariate(frame, lambda y, noise: noise)
    last = planted.groupby("unique_id").cumcount() >= ROWS - 6
    planted = planted.assign(y=planted["y"].where(~last))
    planted.loc[[BEGIN + ROWS - 2], "x"] = np.nan
    return planted, asked


def _words(frame: pd.DataFrame) -> Planted:
    kinds = frame.assign(kind=np.where(np.arange(len(frame)) == BEGIN + 3, "lorry", "car"))
    return kinds, {"known_categories": {"kind": ["car", "bus"]}}


def _future_words(frame: pd.DataFrame) -> Planted:
    planted, asked = _future_frame(frame)
    whole = asked["future"].assign(kind="train")
    return planted.assign(kind="car"), {**asked, "future": whole, "covariates": []}


def _copied(frame: pd.DataFrame) -> Planted:
    mine = frame[frame["unique_id"] == "s1"]
    return pd.concat([mine.assign(unique_id="copy"), frame], ignore_index=True), {}


def _renamed(frame: pd.DataFrame, name: Any, of: str = "s1") -> Planted:
    ids = frame["unique_id"].astype(object)
    return frame.assign(unique_id=ids.where(ids != of, name)), {}


FAULTS: dict[str, tuple[str, Callable[[pd.DataFrame], Planted]]] = {  # name -> (kind to be found, how it is planted)
    "no rows": ("no_rows", lambda frame: (frame.iloc[:0], {})),
    "ids that are None": ("missing_ids", lambda frame: _at(frame, "unique_id", [3, 4], None)),
    "1 and '1' as ids": ("ids_clash", lambda frame: _renamed(_renamed(frame, 1)[0], "1", "s2")),
    "timestamps that are NaT": ("missing_timestamps", lambda frame: _at(frame, "ds", [3, 4], pd.NaT)),
    "a date that is none": ("bad_timestamps", lambda frame: _at(frame, "ds", [3], "yesterday")),
    "naive beside aware": ("zones_mixed", lambda frame: _zones(frame, ["s1"], None)),
    "two zones in one series": ("zones_mixed", lambda frame: _zones(frame, ["s1"], "Asia/Tokyo")),
    "series in two zones": ("zones_differ", lambda frame: _zones(frame, ["s1", "s2"], "Asia/Tokyo")),
    "text among numbers": ("text", lambda frame: _at(frame, "y", [3], "n/a")),
    "truth values": ("not_numbers", lambda frame: (frame.assign(y=frame["y"] > 100), {})),
    "infinity": ("infinities", lambda frame: _set(frame, [3], lambda y: np.inf)),
    "rows twice": ("duplicates", lambda frame: _again(frame, [7, 9], 0.0)),
    "rows twice with other values": ("conflicting_duplicates", lambda frame: _again(frame, [7], 5.0)),
    "one row for each series": ("frequency_unknown", _sparse),
    "one series of days among hours": ("frequency_mixed", _other_frequency),
    "seven minutes past the hour": ("off_clock", _off_clock),
    "hours missing": ("gaps", lambda frame: _without(frame, [50, 51, 90])),
    "two rows swapped": ("out_of_order", _out_of_order),
    "a day not observed": ("missing_runs", lambda frame: _set(frame, slice(100, 130), lambda y: np.nan)),
    "one hour not observed": ("missing_y", lambda frame: _set(frame, [100], lambda y: np.nan)),
    "nothing observed": ("no_values", lambda frame: _set(frame, slice(0, ROWS), lambda y: np.nan)),
    "zeros only": ("all_zero", lambda frame: _set(frame, slice(0, ROWS), lambda y: 0.0)),
    "one value only": ("constant", lambda frame: _set(frame, slice(0, ROWS), lambda y: 12.5)),
    "zeros for half a day": ("zero_stretch", lambda frame: _set(frame, slice(200, 212), lambda y: 0.0)),
    "zeros at the beginning": ("leading_zeros", lambda frame: _set(frame, slice(0, 40), lambda y: 0.0)),
    "zeros at the end": ("dead_tail", lambda frame: _set(frame, slice(350, ROWS), lambda y: 0.0)),
    "a stuck sensor": ("stuck", lambda frame: _set(frame, slice(200, 212), lambda y: y[0])),
    "x1000 for a while": ("unit_jump", lambda frame: _set(frame, slice(200, 230), lambda y: y * 1000)),
    "/10 for days": ("unit_jump", lambda frame: _set(frame, slice(200, 300), lambda y: y / 10)),
    "x100 to the end": ("unit_jump", lambda frame: _set(frame, slice(320, ROWS), lambda y: y * 100)),
    "a lasting shift": ("level_shift", lambda frame: _set(frame, slice(250, ROWS), lambda y: y + 60)),
    "single outliers": ("outliers", lambda frame: _set(frame, [100, 301], lambda y: y + np.array([150, -90]))),
    "an outlier of random walk": ("outliers", lambda frame: _set(clean("random_walk"), [150], lambda y: y + 60)),
    "an outlier among counts": ("outliers", lambda frame: _set(clean("counts"), [150], lambda y: y + 300)),
    "an outlier of intermittent demand": ("outliers", lambda frame: _set(clean("intermittent"), [150], lambda y: 5000.0)),
    "negative counts": ("negative", lambda frame: _counted(frame, [30, 31], lambda y: -y - 1)),
    "halves among counts": ("fractions", lambda frame: _counted(frame, [30, 31], lambda y: y + 0.5)),
    "a short series": ("short", lambda frame: _without(frame, list(range(40, ROWS)))),
    "a series that ended": ("dead", _ended),
    "a series that began late": ("late_start", _late),
    "local hours of Berlin": ("daylight_saving", lambda frame: (local_hours("Europe/Berlin", 2023), {})),
    "a covariate with holes": ("covariate_missing", lambda frame: _with_covariate(frame, _holed)),
    "a covariate that is 1": ("covariate_constant", lambda frame: _with_covariate(frame, lambda y, noise: 1 + 0 * noise)),
    "the target in other units": ("leak", lambda frame: _with_covariate(frame, lambda y, noise: 2 * y + 3 + 0.01 * noise)),
    "the target of the next hour": ("leak", lambda frame: _with_covariate(frame, _next_target, past=True)),
    "a future step without row": ("future_missing", _future_frame),
    "a future row without covariate": ("future_missing", _future_rows),
    "a word the model never saw": ("unseen_category", _words),
    "a word only the future has": ("unseen_category", _future_words),
    "one series under two ids": ("twin_series", _copied),
    "ids that differ in case": ("similar_ids", lambda frame: _renamed(frame, "S0 ")),
}
