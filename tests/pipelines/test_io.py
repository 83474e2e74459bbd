"""Sources become frames, frames reach sinks whole or not at all, and no message holds a password."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.environment import Environment
from pipelines.files import folder_written_aside, write_json, written_aside
from pipelines.io import read_frame, read_source, write_frame, write_sink
from pipelines.panel_file import read_panel, write_panel
from pipelines.recipe import Sink, Source
from tsforecast.errors import DataError, RecipeError, SchemaError
from tsforecast.panel import Panel
from tsforecast.preprocessing.validate import panel_from_frame

ROWS = pd.DataFrame(
    {"shop": ["007", "007", "NA"], "day": ["2024-01-01", "2024-01-02", "2024-01-01"], "sold": [1.5, np.nan, 0.1], "x": 1}
)
NOTHING = Environment({})


def source(kind: Any, **fields: Any) -> Source:
    return Source(kind=kind, id="shop", time="day", target="sold", **fields)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_are_read_under_our_names_and_ids_stay_text(tmp_path: Path, kind: str) -> None:
    getattr(ROWS, f"to_{kind}")(tmp_path / "rows", index=False)
    frame = read_source(source(kind, path="rows"), folder=tmp_path, environment=NOTHING)
    assert list(frame.columns) == ["unique_id", "ds", "y"]
    assert frame["unique_id"].tolist() == ["007", "007", "NA"]
    np.testing.assert_array_equal(frame["y"], [1.5, np.nan, 0.1])


def test_ids_that_are_all_numbers_stay_text_in_csv(tmp_path: Path) -> None:
    ROWS.assign(shop=["007", "007", "1e3"]).to_csv(tmp_path / "rows.csv", index=False)
    frame = read_source(source("csv", path="rows.csv"), folder=tmp_path, environment=NOTHING)
    assert frame["unique_id"].tolist() == ["007", "007", "1e3"]


def test_a_database_is_read_by_its_query(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        ROWS.to_sql("sales", connection, index=False)
    found = source("sql", url="sqlite:///${WHERE}/shop.db", query="SELECT shop, day, sold FROM sales WHERE shop = '007'")
    frame = read_source(found, folder=tmp_path, environment=Environment({"WHERE": str(tmp_path)}))
    assert frame["unique_id"].tolist() == ["007", "007"]


def test_a_data_set_is_read_by_name() -> None:
    frame = read_source(Source(kind="dataset", name="co2_weekly"), folder=Path(), environment=NOTHING)
    assert len(frame) == 2284 and list(frame.columns) == ["unique_id", "ds", "y"]


def test_a_file_with_one_series_needs_its_name(tmp_path: Path) -> None:
    ROWS.drop(columns="shop").to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(
        SchemaError,
        match=r"no column 'shop' \(source\.id\); it has day, sold, x; for .* set source\.series",
    ):
        read_source(source("csv", path="one.csv"), folder=tmp_path, environment=NOTHING)
    named = read_source(source("csv", path="one.csv", series="total"), folder=tmp_path, environment=NOTHING)
    assert set(named["unique_id"]) == {"total"}


def test_a_missing_column_is_named_with_its_key(tmp_path: Path) -> None:
    ROWS.drop(columns="sold").to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(SchemaError, match=r"the source has no column 'sold' \(source\.target\); it has shop, day, x$"):
        read_source(source("csv", path="r.csv"), folder=tmp_path, environment=NOTHING)
    with pytest.raises(SchemaError, match=r"no column 'price' \(source\.covariates\)"):
        priced = Source(kind="csv", path="r.csv", id="shop", time="day", target="x", covariates=("price",))
        read_source(priced, folder=tmp_path, environment=NOTHING)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, r"none\.csv cannot be read as csv: No such file or directory"),
        ("empty.csv", b"", r"empty\.csv cannot be read as csv: No columns to parse from file"),
        ("not.parquet", b"hello", r"not\.parquet cannot be read as parquet: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_frame(tmp_path / name)


def test_a_database_that_fails_is_named_without_its_password() -> None:
    failing = source("sql", url="sqlite:///${PW}/no/such/folder/shop.db", query="SELECT 1")
    with pytest.raises(DataError, match=r"sqlite:///\$\{PW\}/no/such/folder/shop\.db: unable to open database file") as caught:
        read_source(failing, folder=Path(), environment=Environment({"PW": "s3cret"}))
    shown = caught.value
    assert "s3cret" not in str(shown) and shown.__cause__ is None


def test_a_url_that_cannot_be_parsed_does_not_show_its_password() -> None:
    failing = source("sql", url="${URL}", query="SELECT 1")
    with pytest.raises(DataError) as caught:
        read_source(failing, folder=Path(), environment=Environment({"URL": "postgresql://u:s3cret@h:port/db"}))
    assert "s3cret" not in str(caught.value) and caught.value.__cause__ is None


def test_a_query_that_fails_is_named(tmp_path: Path) -> None:
    failing = source("sql", url="sqlite:///${WHERE}/x.db", query="SELECT * FROM sales")
    with pytest.raises(DataError, match=r"^sqlite:///\$\{WHERE\}/x\.db: .*no such table: sales"):
        read_source(failing, folder=tmp_path, environment=Environment({"WHERE": str(tmp_path)}))


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(DataError, match=r"the driver is not installed; install the Python package cx_Oracle"):
        read_source(source("sql", url="oracle+cx_oracle://h/db", query="SELECT 1"), folder=Path(), environment=NOTHING)


def test_a_variable_that_is_not_set_is_a_fault_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match=r"source\.url needs the environment variable PW"):
        read_source(source("sql", url="sqlite:///${PW}", query="SELECT 1"), folder=Path(), environment=NOTHING)


# ------------------------------------------------------------ sinks

STEPS = pd.to_datetime(["2024-01-03", "2024-01-04", "2024-01-03"])
FORECAST = pd.DataFrame({"unique_id": ["a", "a", "b"], "ds": STEPS, "0.1": [1.0, 2.0, 3.0], "0.9": [2.0, 3.0, 4.0]})


def send(sink: Sink, folder: Path, frame: pd.DataFrame = FORECAST, *, as_of: str = "2024-01-02T00:00:00") -> str:
    environment = Environment({"WHERE": str(folder)})
    return write_sink(sink, frame, recipe="demand", as_of=as_of, model="gru", folder=folder, environment=environment)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_sink_is_named_by_recipe_and_moment(tmp_path: Path, kind: Any) -> None:
    where = send(Sink(kind=kind, path="out/{recipe}-{as_of}.x"), tmp_path)
    assert where == str(tmp_path / "out" / "demand-2024-01-02.x")
    read = pd.read_csv(where, parse_dates=["ds"]) if kind == "csv" else pd.read_parquet(where)
    pd.testing.assert_frame_equal(read, FORECAST, check_dtype=False)


def rows_in(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "out.db")) as connection:
        return connection.execute(
            "SELECT as_of, unique_id, ds, quantile_level, value FROM forecasts ORDER BY 1, 2, 3, 4"
        ).fetchall()


SQL = Sink(kind="sql", url="sqlite:///${WHERE}/out.db", table="forecasts")


def test_a_table_holds_one_row_per_series_step_and_level_and_a_rerun_replaces_its_own_rows(tmp_path: Path) -> None:
    assert send(SQL, tmp_path) == "table forecasts of sqlite:///${WHERE}/out.db"
    send(SQL, tmp_path, as_of="2024-01-09")
    rows = rows_in(tmp_path)
    assert len(rows) == 12
    assert rows[0] == ("2024-01-02T00:00:00", "a", "2024-01-03 00:00:00.000000", 0.1, 1.0)
    send(SQL, tmp_path, FORECAST.head(1).assign(**{"0.1": -7.0}), as_of="2024-01-09")
    assert [row[4] for row in rows_in(tmp_path) if row[0] == "2024-01-09"] == [-7.0, 2.0]
    assert len(rows_in(tmp_path)) == 8


def test_a_table_that_cannot_take_the_rows_keeps_those_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(SQL, tmp_path)
    before = rows_in(tmp_path)
    with pytest.raises(DataError, match=r"sqlite:///\$\{WHERE\}/out\.db: NOT NULL constraint failed: forecasts\.unique_id"):
        send(SQL, tmp_path, FORECAST.assign(unique_id=["a", None, "b"]))
    assert rows_in(tmp_path) == before


def test_zoned_times_reach_a_table_in_utc_and_integer_steps_as_integers(tmp_path: Path) -> None:
    send(SQL, tmp_path, FORECAST.assign(ds=FORECAST["ds"].dt.tz_localize("Europe/Berlin")))
    assert rows_in(tmp_path)[0][2] == "2024-01-02 23:00:00.000000"
    (tmp_path / "out.db").unlink()
    send(SQL, tmp_path, FORECAST.assign(ds=[701, 702, 701]))
    assert rows_in(tmp_path)[0][2] == 701


def test_a_sink_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"sink\.path .*out/f\.csv cannot be written: "):
        send(Sink(kind="csv", path="out/f.csv"), tmp_path)


# ------------------------------------------------------------ whole or not at all


def fails(_: Path) -> None:
    raise RuntimeError("stopped half way")


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    path = write_frame(FORECAST, tmp_path / "f.parquet")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half")
        fails(aside)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["f.parquet"]


def test_a_folder_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    def fill(words: str, then: Callable[[Path], None]) -> None:
        with folder_written_aside(tmp_path / "model") as aside:
            (aside / "weights").write_text(words)
            then(aside)

    fill("old", lambda _: None)
    with pytest.raises(RuntimeError):
        fill("half", fails)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    fill("new", lambda _: None)
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"x": 1, "y": [1, 2]})
    write_json(tmp_path / "b", {"y": [1, 2], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_panel_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    hours = pd.date_range("2024-03-30", periods=30, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame(
        {"unique_id": ["b"] * 20 + ["a"] * 10, "ds": [*hours[:20], *hours[:10]], "y": np.arange(30.0), "price": 2.0}
    )
    frame.loc[3, "y"] = np.nan
    panel = panel_from_frame(frame, freq="h", covariates=("price",))
    write_panel(panel, tmp_path / "p.parquet")
    same(read_panel(tmp_path / "p.parquet"), panel)
    steps = panel_from_frame(pd.DataFrame({"unique_id": "s", "ds": range(5), "y": 1.0}), freq=1, season=2)
    write_panel(steps, tmp_path / "s.parquet")
    same(read_panel(tmp_path / "s.parquet"), steps)


def same(one: Panel, other: Panel) -> None:
    for name in ("series_ids", "freq", "season", "tz", "covariate_names"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("offsets", "timestamps", "target"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    if other.covariates is not None:
        np.testing.assert_array_equal(one.covariates, other.covariates)
