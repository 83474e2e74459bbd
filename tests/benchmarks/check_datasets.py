"""Every data set of the benchmark folder through `tsforecast.check` and through the repairs that fit it, to a Panel.

    TSF_DATA_DIR=… python tests/benchmarks/check_datasets.py [NAME …] [--html FOLDER]

One line for each set: what was found as it comes, what was repaired, and what panel came of it. Exit code 1 where none came.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

import tsforecast
from tsforecast.checking.html import html_of
from tsforecast.datasets import DATA_DIR
from tsforecast.errors import DataError
from tsforecast.preprocessing.repairs import build_repair, repair


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What fits a set."""

    files: tuple[str, ...] = ("train", "val", "test", "after", "data")  # in this order, those that are there
    freq: str | int | None = None  # None = told from the data; 1 for integer steps
    season: int | None = None  # steps
    covariates: tuple[str, ...] = ()
    repairs: tuple[Mapping[str, Any], ...] = ()  # name and options of each


def clock(freq: str) -> dict[str, Any]:
    return {"name": "clock", "freq": freq}


SETS: dict[str, Fit] = {
    "m4_hourly": Fit(season=24),
    "m4_daily": Fit(season=7),
    "m4_weekly": Fit(season=52),
    "m4_monthly": Fit(season=12),
    "m4_quarterly": Fit(season=4),
    "m4_yearly": Fit(),
    "m3_monthly": Fit(season=12),
    "m3_quarterly": Fit(season=4),
    "m3_yearly": Fit(),
    "m3_other": Fit(),
    "etth1": Fit(),
    "ettm1": Fit(),
    "exchange_rate": Fit(),
    "m5_sample": Fit(covariates=("snap",)),
    "m5_price_small": Fit(covariates=("sell_price",)),
    "stallion": Fit(covariates=("price_actual", "discount")),
    "carparts": Fit(),
    "vic_elec": Fit(covariates=("temperature", "holiday")),
    "bike_sharing_hourly": Fit(covariates=("tmin", "tmax", "pn"), repairs=(clock("h"),)),
    "tourism_hier": Fit(),
    "prophet_examples/air_passengers": Fit(),
    "prophet_examples/pedestrians_covid": Fit(),
    "prophet_examples/pedestrians_multivariate": Fit(),
    "prophet_examples/peyton_manning": Fit(repairs=(clock("D"), {"name": "fill", "method": "linear", "limit": 7})),
    "prophet_examples/retail_sales": Fit(),
    "prophet_examples/wp_log_R": Fit(repairs=(clock("D"), {"name": "fill", "method": "linear", "limit": 7})),
    "prophet_examples/yosemite_temps": Fit(repairs=({"name": "fill", "method": "linear", "limit": 12},)),
    "nab": Fit(
        files=("realKnownCause", "realAWSCloudwatch"),
        repairs=({"name": "duplicates", "keep": "mean"}, {"name": "resample", "freq": "5min", "how": "mean"}),
    ),
    "ucr_anomaly": Fit(),
    "aiops_kpi": Fit(repairs=({"name": "resample", "freq": "5min", "how": "mean"},)),
    "wsd": Fit(repairs=(clock("min"), {"name": "fill", "method": "linear", "limit": 10})),
    "smd": Fit(season=1440),
}


def read(name: str, fit: Fit, root: Path) -> pd.DataFrame:
    """The rows of a set as they come; wide ones below one another."""
    folder = root / name
    paths = [folder / f"{part}.parquet" for part in fit.files] if folder.is_dir() else [folder.with_suffix(".parquet")]
    frame = pd.concat([pd.read_parquet(path) for path in paths if path.exists()], ignore_index=True)
    if "y" not in frame:  # one column for each channel
        channels = [column for column in frame if column not in ("unique_id", "ds", "label")]
        frame = frame.melt(id_vars=["unique_id", "ds"], value_vars=channels, var_name="channel", value_name="y")
        frame["unique_id"] = frame["unique_id"] + "/" + frame.pop("channel")
    return frame


@dataclass(slots=True)
class Line:
    """One row of the table."""

    name: str
    cells: dict[str, str] = field(default_factory=dict)
    made: bool = False


def go_through(name: str, fit: Fit, root: Path, pages: Path | None) -> Line:
    """Check a set, repair it and make its panel."""
    frame, line = read(name, fit, root), Line(name)
    freq = fit.freq if fit.freq is not None else (1 if frame["ds"].dtype.kind == "i" else None)
    began = time.perf_counter()
    report = tsforecast.check(frame, freq=freq, season=fit.season, covariates=fit.covariates)
    seconds = time.perf_counter() - began
    kinds = {kind: sum(one.count for one in found) for kind, found in report.by_kind().items()}
    line.cells = {
        "series": f"{report.facts['series']}",
        "rows": f"{len(frame)}",
        "check, s": f"{seconds:.1f}",
        "as it comes": report.verdict,
        "found": ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "nothing",
    }
    steps = [build_repair(one["name"], **{key: value for key, value in one.items() if key != "name"}) for one in fit.repairs]
    try:
        made = repair(frame, steps, freq=freq, season=fit.season, covariates=fit.covariates)
    except DataError as error:
        report = replace(report, refusal=str(error))
        line.cells["panel"] = f"none: {error}"
    else:
        line.made = True
        report = replace(report, refusal=None, repairs=made.counts)
        line.cells["repaired"] = ", ".join(f"{step} {count}" for step, count in made.counts.items()) or "nothing"
        panel = made.panel
        line.cells["panel"] = f"{len(panel)} series, {len(panel.target)} steps of {panel.freq}, season {panel.season}"
    if pages is not None:
        (pages / f"{name.replace('/', '-')}.html").write_text(html_of(report, title=name), encoding="utf-8")
    return line


COLUMNS = ("series", "rows", "check, s", "as it comes", "found", "repaired", "panel")


def table(lines: list[Line]) -> Iterator[str]:
    yield f"| data | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}"
    for line in lines:
        yield f"| {line.name} | {' | '.join(line.cells.get(column, '') for column in COLUMNS)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="write a page for each set")
    asked = parser.parse_args()
    root = os.environ.get(DATA_DIR)
    if not root:
        print(f"skipped: set {DATA_DIR} to the folder that holds the sets")
        return 0
    if asked.html:
        asked.html.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in asked.names or SETS:
        lines.append(go_through(name, SETS[name], Path(root), asked.html))
        print(f"{name}: {lines[-1].cells}", file=sys.stderr, flush=True)
    print("\n".join(table(lines)))
    return 0 if all(line.made for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
