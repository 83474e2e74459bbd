"""Panels and forecasts of several zones in files and tables."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.io import write_frame, write_sink
from pipelines.panel_file import read_panel, write_panel
from pipelines.panels import repaired_panel_of
from pipelines.recipe import PanelOptions, Sink, Source, Step
from tests.pipelines.test_io import NOTHING
from tsforecast import build_model, panel_from_frame
from tsforecast.panel import Panel

ZONES = ("Europe/Berlin", "Asia/Tokyo")


def panel_of(zones: tuple[str, ...] = ZONES) -> Panel:
    days = pd.date_range("2024-03-25", periods=10, freq="D")
    parts = [pd.DataFrame({"unique_id": zone, "ds": days, "y": np.arange(10.0), "zone": zone}) for zone in zones]
    return panel_from_frame(pd.concat(parts), tz_col="zone")


def test_a_panel_file_keeps_the_zone_of_each_series(tmp_path: Path) -> None:
    panel = panel_of()
    digest = write_panel(panel, tmp_path / "panel.parquet")
    again = read_panel(tmp_path / "panel.parquet")
    assert (again.tz, again.zones, again.series_ids) == ("UTC", ZONES, ZONES)
    np.testing.assert_array_equal(again.timestamps, panel.timestamps)
    assert write_panel(again, tmp_path / "again.parquet") == digest
    write_panel(panel_of(ZONES[:1]), tmp_path / "one.parquet")
    one = read_panel(tmp_path / "one.parquet")
    assert (one.tz, one.zones) == ("Europe/Berlin", ())


def test_a_forecast_of_several_zones_is_written_with_offsets_as_csv_and_in_utc_as_parquet_and_table(tmp_path: Path) -> None:
    frame = build_model("seasonal_naive").fit(panel_of(), horizon=1).predict(panel_of()).to_frame()
    instants = ["2024-04-03T22:00", "2024-04-03T15:00"]
    assert (
        write_frame(frame, tmp_path / "f.csv").read_text().splitlines()[1].startswith("Europe/Berlin,2024-04-04 00:00:00+02:00,")
    )
    stored = pd.read_parquet(write_frame(frame, tmp_path / "f.parquet"))
    assert [str(one) for one in stored["ds"]] == [str(pd.Timestamp(one, tz="UTC")) for one in instants]
    sink = Sink(kind="sql", url=f"sqlite:///{tmp_path / 'f.db'}", table="f")
    write_sink(sink, frame, recipe="r", as_of="2024-04-03", model="m", folder=tmp_path, environment=NOTHING)
    with closing(sqlite3.connect(tmp_path / "f.db")) as connection:
        rows = connection.execute("SELECT DISTINCT unique_id, ds FROM f ORDER BY ds").fetchall()
    assert [(name, moment[:16]) for name, moment in rows] == [
        ("Asia/Tokyo", "2024-04-03 15:00"),
        ("Europe/Berlin", "2024-04-03 22:00"),
    ]


def test_a_recipe_reads_local_hours_on_the_clock_of_its_zone() -> None:
    hours = pd.date_range("2024-03-29", "2024-04-02 23:00", freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"unique_id": "a", "ds": hours.tz_localize(None), "y": np.arange(float(len(hours)))}).drop(index=40)
    options = PanelOptions(tz="Europe/Berlin", missing_steps="insert")
    made = repaired_panel_of(frame, options, Source(kind="csv", path="x.csv"))
    assert (made.panel.tz, len(made.panel.target)) == ("Europe/Berlin", 119)  # one hour less on the 31st
    assert made.counts == {"missing_steps": 1}
    assert made.log["ds"].tolist() == [hours[40]]


def test_an_hour_that_comes_twice_is_no_duplicate_where_the_recipe_has_a_zone() -> None:
    hours = pd.date_range("2024-10-26", "2024-10-28 23:00", freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"unique_id": "a", "ds": hours.tz_localize(None), "y": np.arange(float(len(hours)))})
    steps = (Step(name="duplicates", options={"keep": "last"}),)
    made = repaired_panel_of(frame, PanelOptions(tz="Europe/Berlin"), Source(kind="csv", path="x.csv"), steps=steps)
    assert made.panel.target.tolist() == list(range(73)) and made.counts == {}
