"""Parquet -> Panel: what `panel_from_frame` says of the same rows. And panels larger than memory, stored and mapped."""

import datetime as dt
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsforecast.preprocessing.parquet as parquet_module
import tsforecast.preprocessing.stored as stored_module
from tsforecast.errors import CovariateError, DataError, DuplicateError, FrequencyError, GapError, OptionError, SchemaError
from tsforecast.panel import Panel
from tsforecast.preprocessing.blocks import let_go, mapped_file, pieces, series_blocks
from tsforecast.preprocessing.parquet import Flat, panel_from_parquet
from tsforecast.preprocessing.stored import open_panel, store_panel
from tsforecast.preprocessing.validate import panel_from_frame

ARRAYS = ("offsets", "timestamps", "target", "covariates", "past_covariates", "static_reals")
WORDS = ("series_ids", "freq", "season", "tz", "covariate_names", "past_covariate_names", "static_real_names")


def assert_same(found: Panel, expected: Panel) -> None:
    for name in (*WORDS, "static_categories", "static_category_names", "zones"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ARRAYS:
        mine, other = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (other is None), name
        if mine is not None:
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other, err_msg=name)
            assert not mine.flags.writeable


def rows_of(lengths=(5, 9, 3), start="2024-01-01", freq="h", seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({"unique_id": f"s{9 - i}", "ds": pd.date_range(start, periods=n, freq=freq), "y": rng.normal(size=n)})
        for i, n in enumerate(lengths)
    ]
    return pd.concat(parts, ignore_index=True)


def shuffled(frame: pd.DataFrame, seed=0) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def written(frame: pd.DataFrame, folder: Path, files=1) -> Path:
    """The rows in so many files, in order."""
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[rows].to_parquet(folder / f"part-{number}.parquet", index=False, row_group_size=4)
    return folder


@pytest.fixture(params=[3, 10_000], ids=["small-parts", "at-once"])
def parts(request, monkeypatch):
    """Rows read, looked at and sorted in parts of three, or all at once."""
    monkeypatch.setattr(parquet_module, "READ_AT_ONCE", request.param)
    monkeypatch.setattr(parquet_module, "PIECE", request.param)
    monkeypatch.setattr(parquet_module, "series_blocks", partial(series_blocks, most=request.param))


# The same panel


FRAMES = {
    "in order": rows_of(),
    "shuffled": shuffled(rows_of()),
    "with NaN": shuffled(rows_of()).assign(y=lambda f: f["y"].where(f["y"] > 0)),
    "whole numbers": rows_of().assign(y=np.arange(17)),
    "Berlin": shuffled(rows_of((60, 80), start="2024-03-25")).assign(
        ds=lambda f: f["ds"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    ),
    "days in Berlin": rows_of((90, 40), start="2024-03-01", freq="D").assign(
        ds=lambda f: f["ds"].dt.tz_localize("Europe/Berlin")
    ),
    "milliseconds": shuffled(rows_of()).assign(ds=lambda f: f["ds"].astype("datetime64[ms]")),
    "microseconds about 1970": rows_of(start="1969-12-31").assign(ds=lambda f: f["ds"].astype("datetime64[us]")),
    "nanoseconds": shuffled(rows_of(freq="7ns")),
    "months": shuffled(rows_of((14, 30), freq="MS")),
    "business days": rows_of((4, 30, 9), start="2024-01-02", freq="B"),
    "weeks, first series short": rows_of((1, 2, 12), freq="W-SUN"),
    "texts": shuffled(rows_of()).assign(ds=lambda f: f["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S")),
    "dates": rows_of(freq="D").assign(ds=lambda f: f["ds"].dt.date),
    "steps": shuffled(rows_of()).assign(ds=lambda f: (f["ds"] - pd.Timestamp("2024-01-01")) // pd.Timedelta("30min")),
    "ids are numbers": shuffled(rows_of()).assign(unique_id=lambda f: f["unique_id"].str[1:].astype(int)),
    "ids are categories": shuffled(rows_of()).assign(unique_id=lambda f: f["unique_id"].astype("category")),
    "one series without id": rows_of((20,)).drop(columns="unique_id"),
    "one row each": rows_of((1, 1, 1)),
    "single precision": rows_of().assign(y=lambda f: f["y"].astype("float32")),
}


@pytest.mark.parametrize("name", FRAMES)
def test_it_is_the_panel_of_the_frame(name, tmp_path, parts):
    options = {"freq": "h"} if name == "one row each" else {}
    path = written(FRAMES[name], tmp_path / "folder", files=3)
    assert_same(panel_from_parquet(path, **options), panel_from_frame(FRAMES[name], **options))


def test_columns_are_called_and_used_as_said(tmp_path, parts):
    frame = shuffled(rows_of()).assign(promo=np.arange(17) % 2 == 0, price=np.arange(17.0), wind=2, region="north", size=3.0)
    frame = frame.rename(columns={"unique_id": "shop", "ds": "at", "y": "sold"})
    options = {
        "id_col": "shop", "time_col": "at", "target_col": "sold", "season": 7, "freq": "h",
        "covariates": ["price", "promo"], "past_covariates": ["wind"], "static": ["region", "size"],
    }  # fmt: skip
    found = panel_from_parquet(written(frame, tmp_path / "folder", files=2), **options)
    assert_same(found, panel_from_frame(frame, **options))
    assert found.covariates.shape == (17, 2)


def test_a_static_frame_is_joined_as_with_a_frame(tmp_path):
    static = pd.DataFrame({"unique_id": ["s7", "s8", "s9", "s1"], "size": [1.0, 2.0, 3.0, 4.0]})
    found = panel_from_parquet(written(rows_of(), tmp_path / "folder"), static=static)
    assert_same(found, panel_from_frame(rows_of(), static=static))


def test_missing_steps_are_inserted(tmp_path, parts):
    frame = shuffled(rows_of().drop(index=[1, 7, 8]))
    found = panel_from_parquet(written(frame, tmp_path / "folder"), missing_steps="insert")
    assert_same(found, panel_from_frame(frame, missing_steps="insert"))
    assert np.isnan(found.target).sum() == 3


def test_decimals_are_numbers(tmp_path):
    table = pa.Table.from_pandas(rows_of().assign(y=np.arange(17) / 4), preserve_index=False)
    pq.write_table(table.set_column(2, "y", table["y"].cast(pa.decimal128(8, 2))), tmp_path / "file.parquet")
    assert panel_from_parquet(tmp_path / "file.parquet").target.tolist() == (np.arange(17) / 4).tolist()


def test_rows_in_order_are_not_sorted(tmp_path, parts, monkeypatch):
    path = written(rows_of(), tmp_path / "folder", files=3)
    monkeypatch.setattr(Flat, "_sort", None)
    assert_same(panel_from_parquet(path), panel_from_frame(rows_of()))


@pytest.mark.parametrize("order", ["shuffled", "backwards in each series", "series backwards"])
def test_rows_out_of_order_are_sorted_without_a_second_look(order, tmp_path, parts, monkeypatch):
    frame = rows_of()
    frame = {
        "shuffled": shuffled(frame),
        "backwards in each series": frame.sort_values(["unique_id", "ds"], ascending=False),
        "series backwards": frame.iloc[::-1],
    }[order].reset_index(drop=True)
    path = written(frame, tmp_path / "folder", files=3)
    monkeypatch.setattr(parquet_module, "panel_from_rows", None)  # what says what is wrong, and sorts again
    assert_same(panel_from_parquet(path), panel_from_frame(frame))


@pytest.mark.parametrize("name", ["shuffled", "months", "days in Berlin, shuffled"])
def test_series_with_all_their_steps_are_counted_into_place(name, tmp_path, parts, monkeypatch):
    """Months and days of the wall clock have steps of no one length: these are sorted."""
    frame = FRAMES[name] if name in FRAMES else shuffled(FRAMES["days in Berlin"])
    sorted_by = []
    monkeypatch.setattr(Flat, "_order", lambda self, *how, order=Flat._order: sorted_by.append(how) or order(self, *how))
    assert_same(panel_from_parquet(written(frame, tmp_path / "folder")), panel_from_frame(frame))
    assert len(sorted_by) == (name != "shuffled")


def test_times_too_far_apart_for_one_key_are_sorted_too(parts):
    moments = np.array([9, 2**60, 3, 1, -(2**60), 4, 5, 0, 1, 2, 1, 2**59])
    flat = Flat(codes=np.array([0, 1, 2] * 4), timestamps=moments, target=np.arange(12.0))
    flat._sort(np.array([0, 4, 8, 12]))
    assert flat.target.tolist() == [3, 9, 6, 0, 4, 7, 10, 1, 8, 2, 5, 11]


def test_a_span_of_time_too_long_for_a_difference_is_read_all_the_same(tmp_path, parts):
    years = [np.datetime64(f"{year}-01-01", "s") for year in (2200, 1700, 2201, 1701)]
    frame = pd.DataFrame({"unique_id": list("abab"), "ds": years, "y": np.arange(4.0)})
    found = panel_from_parquet(written(frame, tmp_path / "folder"))
    assert_same(found, panel_from_frame(frame))
    assert found.target.tolist() == [0, 2, 1, 3]


def test_only_files_that_are_meant_are_read(tmp_path):
    path = written(rows_of(), tmp_path / "folder", files=2)
    (path / "_SUCCESS").touch()
    (path / ".hidden.parquet").write_text("no Parquet")
    (path / "_delta_log").mkdir()
    (path / "_delta_log" / "x.parquet").write_text("no Parquet")
    (path / "more").mkdir()
    rows_of((4,), seed=1).assign(unique_id="other").to_parquet(path / "more" / "z.pq")
    assert panel_from_parquet(path).series_ids == ("other", "s9", "s8", "s7")  # in order of the files' names


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_rows_give_the_panel_or_the_error_of_the_frame(data, tmp_path_factory):
    """Regular or not: rows are dropped and doubled, and come in any order over any number of files."""
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    frame = rows_of(lengths, freq=data.draw(st.sampled_from(["h", "D", "W-MON", "MS", "B"])))
    for row in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=1)):
        frame = pd.concat([frame.drop(index=row), frame.iloc[: data.draw(st.integers(0, 1))]])
    if frame.empty:
        return
    frame = shuffled(frame, data.draw(st.integers(0, 9))) if data.draw(st.booleans()) else frame.reset_index(drop=True)
    path = written(frame, tmp_path_factory.mktemp("any") / "folder", files=data.draw(st.integers(1, 3)))
    try:
        expected = panel_from_frame(frame)
    except DataError as error:
        with pytest.raises(type(error)) as caught:
            panel_from_parquet(path)
        assert str(caught.value).replace(
            "; if the rows are of several series, name the column that tells them apart by id_col=", ""
        ) == str(error)
    else:
        assert_same(panel_from_parquet(path), expected)


# The same errors


FAR = dt.datetime(2500, 1, 1)
BROKEN = {
    "twice": (DuplicateError, lambda f: pd.concat([f, f.iloc[[6, 15]]])),
    "gap": (GapError, lambda f: f.drop(index=[7, 15])),
    "off the clock": (FrequencyError, lambda f: f.assign(ds=f["ds"].where(f.index != 7, f["ds"] + pd.Timedelta("7min")))),
    "another frequency": (FrequencyError, lambda f: pd.concat([f, rows_of((9,), freq="D").assign(unique_id="days")])),
    "no id": (SchemaError, lambda f: f.assign(unique_id=f["unique_id"].where(f.index != 7))),
    "no time": (SchemaError, lambda f: f.assign(ds=f["ds"].where(f.index != 7))),
    "infinite": (SchemaError, lambda f: f.assign(y=f["y"].where(f.index != 7, np.inf))),
    "texts": (SchemaError, lambda f: f.assign(y=f["y"].astype(str).where(f.index != 7, "n/a"))),
    "truth values": (SchemaError, lambda f: f.assign(y=True)),
    "no such column": (SchemaError, lambda f: f.rename(columns={"y": "Y"})),
    "ids called otherwise": (SchemaError, lambda f: f.rename(columns={"unique_id": "uniqueid"})),
    "a year too far": (SchemaError, lambda f: f.assign(ds=f["ds"].dt.as_unit("s").where(f.index != 7, FAR))),
    "times are no times": (SchemaError, lambda f: f.assign(ds=1.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_as_of_a_frame(name, tmp_path, parts):
    kind, broken = BROKEN[name]
    frame = broken(rows_of()).reset_index(drop=True)
    with pytest.raises(kind) as expected:
        panel_from_frame(frame)
    with pytest.raises(kind) as found:
        panel_from_parquet(written(frame, tmp_path / "folder"))
    assert (found.value.series_id, found.value.field) == (expected.value.series_id, expected.value.field)
    if "rows counted from" not in str(found.value):
        assert str(found.value) == str(expected.value)


def test_rows_are_counted_from_the_row_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "READ_AT_ONCE", 3)
    frame = rows_of().assign(y=lambda f: f["y"].where(f.index != 11, np.inf))
    message = r"part-1\.parquet, rows counted from 0: series 's8' has inf in 'y', row 2; use NaN"
    with pytest.raises(SchemaError, match=message):  # files have 9 and 8 rows, parts 3
        panel_from_parquet(written(frame, tmp_path / "folder", files=2))
    with pytest.raises(CovariateError, match=r"part-0\.parquet, rows counted from 9: series 's8' has inf in 'x', row 2"):
        panel_from_parquet(written(frame.rename(columns={"y": "x"}).assign(y=0.0), tmp_path / "one"), covariates=["x"])


def test_files_of_different_types_are_refused(tmp_path):
    path = written(rows_of(), tmp_path / "folder")
    rows_of().assign(y="1").to_parquet(path / "z.parquet")
    with pytest.raises(
        SchemaError, match=r"column 'y' is of type .*string in .*z\.parquet, of type double in .*part-0\.parquet; write"
    ):
        panel_from_parquet(path)


def test_offsets_in_some_files_only_are_refused(tmp_path):
    frame = rows_of().assign(ds=lambda f: f["ds"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    frame["ds"] = frame["ds"].where(frame.index < 9, frame["ds"] + "Z")
    with pytest.raises(SchemaError, match=r"part-1\.parquet.*'ds' has no zone and UTC; write all timestamps in one zone"):
        panel_from_parquet(written(frame, tmp_path / "folder", files=2))


def test_what_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is neither a file nor a folder"):
        panel_from_parquet(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no file below .* ends in \.parquet or \.pq"):
        panel_from_parquet(tmp_path)
    (tmp_path / "a.parquet").write_text("unique_id,ds,y")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet: .*; write it again"):
        panel_from_parquet(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path):
    path = written(rows_of((500,)), tmp_path / "folder") / "part-0.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[4:2000] = bytes(1996)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"part-0\.parquet cannot be read as Parquet"):
        panel_from_parquet(path)


def test_no_rows_are_refused(tmp_path):
    rows_of().iloc[:0].to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match=r"has no rows; send at least one observation"):
        panel_from_parquet(tmp_path)


def test_options_are_looked_at_first(tmp_path):
    with pytest.raises(OptionError, match="season must be a positive number of steps, got 0"):
        panel_from_parquet(tmp_path / "nowhere", season=0)
    with pytest.raises(OptionError, match="missing_steps must be 'error' or 'insert', got 'drop'"):
        panel_from_parquet(written(rows_of(), tmp_path / "folder"), missing_steps="drop")


# Stored


@pytest.fixture(params=[4, 10_000], ids=["small-buckets", "one-bucket"])
def buckets(request, monkeypatch):
    monkeypatch.setattr(stored_module, "AT_ONCE", request.param)


@pytest.mark.parametrize("name", [name for name in FRAMES if name not in ("one row each", "weeks, first series short")])
def test_parquet_is_stored_as_the_panel_of_the_frame(name, tmp_path, parts, buckets):
    path = written(FRAMES[name], tmp_path / "folder", files=3)
    stored = store_panel(path, tmp_path / "stored", freq="B" if name == "business days" else None)  # a bucket may see no weekend
    assert_same(open_panel(stored), panel_from_frame(FRAMES[name]))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "stored"]  # nothing else is left


def test_all_of_a_panel_is_stored(tmp_path, buckets):
    frame = shuffled(rows_of()).assign(promo=np.arange(17.0), price=1.0, wind=np.nan, region="north")
    static = pd.DataFrame({"unique_id": ["s7", "s8", "s9"], "size": [1.0, 2.0, 3.0], "kind": ["x", "y", "x"]})
    options = {"covariates": ["promo", "price"], "past_covariates": ["wind"], "static": static, "season": 5, "freq": "h"}
    expected = panel_from_frame(frame, **options)
    store_panel(expected, tmp_path / "a")
    store_panel(written(frame, tmp_path / "folder", files=2), tmp_path / "b", **options)
    store_panel(open_panel(tmp_path / "a"), tmp_path / "c")
    for name in "abc":
        assert_same(open_panel(tmp_path / name), expected)


def test_missing_steps_are_inserted_while_storing(tmp_path, buckets):
    frame = shuffled(rows_of().drop(index=[1, 7, 8]))
    store_panel(written(frame, tmp_path / "folder"), tmp_path / "stored", missing_steps="insert", freq="h")
    assert_same(open_panel(tmp_path / "stored"), panel_from_frame(frame, missing_steps="insert"))


@pytest.mark.parametrize("name", ["twice", "gap", "off the clock", "infinite"])
def test_what_is_wrong_is_said_while_storing_and_nothing_is_left(name, tmp_path, buckets):
    kind, broken = BROKEN[name]
    frame = broken(rows_of()).reset_index(drop=True)
    path = written(frame, tmp_path / "folder")
    with pytest.raises(kind, match="series 's8'"):
        store_panel(path, tmp_path / "stored")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_rows_are_mapped_and_let_go(tmp_path):
    store_panel(panel_from_frame(rows_of((60_000, 40_000))), tmp_path / "stored")
    panel = open_panel(tmp_path / "stored")
    assert mapped_file(panel.target) and mapped_file(panel.timestamps) and mapped_file(panel.target[5:10])
    assert mapped_file(panel.offsets) is None and mapped_file(panel.target[[3, 4]]) is None and mapped_file(None) is None

    def resident() -> int:
        """kB of the target that lie in memory."""
        lines = Path("/proc/self/smaps").read_text().splitlines()
        place = next(i for i, line in enumerate(lines) if line.endswith("target.npy"))
        return int(next(line for line in lines[place:] if line.startswith("Rss:")).split()[1])

    total = panel.target.sum()
    assert resident() > 700  # of 800
    let_go(panel.target[7:])
    assert resident() == 0
    assert sum(float(piece.sum()) for piece in pieces(panel.target, 1000)) == pytest.approx(total)
    assert resident() == 0


def test_changes_in_a_map_of_ones_own_are_not_let_go(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(10))
    own = np.load(tmp_path / "a.npy", mmap_mode="c")
    own[3] = 7
    let_go(own)
    assert own[3] == 7


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    panel = panel_from_frame(rows_of())
    (tmp_path / "stored").mkdir()
    store_panel(panel, tmp_path / "stored")  # empty
    with pytest.raises(DataError, match="stored is there already; remove it, or choose another folder"):
        store_panel(panel, tmp_path / "stored")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is there already"):
        store_panel(panel, tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written: File exists"):
        store_panel(panel, tmp_path / "file" / "below")


def test_options_that_cannot_be_met_are_refused(tmp_path):
    with pytest.raises(OptionError, match="freq, season are for Parquet, and the source is a panel; leave them out"):
        store_panel(panel_from_frame(rows_of()), tmp_path / "stored", freq="h", season=3)
    path = written(rows_of().assign(region="n"), tmp_path / "folder")
    with pytest.raises(
        OptionError, match="static columns of a Parquet file are not read a part at a time; pass static as a frame"
    ):
        store_panel(path, tmp_path / "stored", static=["region"])


def test_what_is_no_stored_panel_is_refused(tmp_path):
    folder = tmp_path / "stored"
    with pytest.raises(DataError, match=r"stored holds no whole stored panel: .*; write it by store_panel"):
        open_panel(folder)
    store_panel(panel_from_frame(rows_of()), folder)
    manifest = json.loads((folder / "panel.json").read_text())
    (folder / "panel.json").write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(DataError, match="is of format 9, this version reads 1; store the panel again"):
        open_panel(folder)
    (folder / "panel.json").write_text(json.dumps(manifest))
    np.save(folder / "target.npy", np.zeros(3))
    with pytest.raises(DataError, match="do not belong together"):
        open_panel(folder)
    np.save(folder / "target.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="holds no whole stored panel"):
        open_panel(folder)
    (folder / "target.npy").unlink()
    with pytest.raises(DataError, match="holds no whole stored panel"):
        open_panel(folder)
