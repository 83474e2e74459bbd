"""Names give the series they promise, and benchmark files are the known ones or an error that says what to do."""

import hashlib
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsforecast import datasets
from tsforecast.datasets import BENCHMARKS, Benchmark, available, load, load_benchmark
from tsforecast.errors import DataError, OptionError

DATA = Path(os.environ.get("TSF_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("TSF_DATA_DIR", raising=False)


def test_co2_is_weekly_and_keeps_its_gaps():
    frame = load("co2_weekly")
    assert frame.columns.tolist() == ["unique_id", "ds", "y"]
    assert set(frame["unique_id"]) == {"co2"}
    assert frame["ds"].diff().iloc[1:].eq(pd.Timedelta(days=7)).all()
    assert frame["ds"].dt.dayofweek.eq(5).all()  # Saturdays
    assert (len(frame), int(frame["y"].isna().sum())) == (2284, 59)
    assert frame["y"].iloc[0] == 316.1  # the first week, as Keeling wrote it down


def test_macro_is_a_panel_of_positive_quarterly_series():
    frame = load("macro_quarterly")
    assert frame.columns.tolist() == ["unique_id", "ds", "y"]
    assert frame.groupby("unique_id").size().eq(203).all()
    assert set(frame["unique_id"]) == {"realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "pop", "unemp"}
    assert (frame["y"] > 0).all()
    quarters = frame[frame["unique_id"] == "realgdp"].set_index("ds")["y"]
    pd.testing.assert_index_equal(
        quarters.index, pd.date_range("1959-01-01", "2009-07-01", freq="QS"), check_names=False, exact=False
    )
    assert quarters.iloc[0] == 2710.349
    assert frame.loc[frame["unique_id"] == "cpi", "y"].iloc[-1] == 216.385


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(OptionError, match=re.escape("no data set 'co2'; there are co2_weekly, macro_quarterly")):
        load("co2")
    with pytest.raises(
        OptionError, match=re.escape("'m4_hourly' is a benchmark with a train and a test part; use load_benchmark")
    ):
        load("m4_hourly")
    with pytest.raises(OptionError, match="no benchmark 'm5'; there are m4_hourly, m4_daily"):
        load_benchmark("m5")
    with pytest.raises(OptionError, match="benchmark 'm4_hourly' has no part 'val'; there are train, test, published_forecasts"):
        load_benchmark("m4_hourly", "val")


def test_without_a_data_folder_the_error_says_where_the_data_come_from():
    with pytest.raises(
        DataError, match=r"from the M4 organisers' repository.*set TSF_DATA_DIR to the folder with m4_hourly/test\.parquet"
    ):
        load_benchmark("m4_hourly", "test")
    assert available() == ["co2_weekly", "macro_quarterly"]


@pytest.fixture
def tiny_benchmark(tmp_path, monkeypatch):
    """A benchmark called tiny whose files lie in the folder that TSF_DATA_DIR names."""
    sums = {}
    (tmp_path / "tiny").mkdir()
    for split, steps in (("train", [1, 2, 3]), ("test", [4])):
        path = tmp_path / "tiny" / f"{split}.parquet"
        pd.DataFrame({"unique_id": "a", "ds": steps, "y": np.arange(len(steps), dtype=float)}).to_parquet(path)
        sums[split] = hashlib.sha256(path.read_bytes()).hexdigest()
    benchmark = Benchmark(title="Tiny", source="this test", horizon=1, season=1, sha256=sums)
    monkeypatch.setitem(datasets.BENCHMARKS, "tiny", benchmark)
    monkeypatch.setenv("TSF_DATA_DIR", str(tmp_path))
    return tmp_path


def test_a_benchmark_is_read_from_the_folder_of_the_environment(tiny_benchmark):
    assert load_benchmark("tiny")["ds"].tolist() == [1, 2, 3]
    assert load_benchmark("tiny", "test")["ds"].tolist() == [4]
    assert load_benchmark("tiny", "test", folder=tiny_benchmark)["unique_id"].tolist() == ["a"]
    assert available() == ["co2_weekly", "macro_quarterly", "tiny"]


def test_a_changed_file_is_refused(tiny_benchmark):
    path = tiny_benchmark / "tiny" / "test.parquet"
    pd.DataFrame({"unique_id": "a", "ds": [4], "y": [0.5]}).to_parquet(path)
    with pytest.raises(
        DataError, match=r"test\.parquet has SHA-256 [0-9a-f]{64}, benchmark 'tiny' is [0-9a-f]{64}: scores of other"
    ):
        load_benchmark("tiny", "test")


def test_a_missing_file_is_named(tiny_benchmark):
    (tiny_benchmark / "tiny" / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"tiny.test\.parquet cannot be read \(No such file"):
        load_benchmark("tiny", "test")
    assert "tiny" not in available()


with_data = pytest.mark.skipif(not (DATA / "m4_hourly").is_dir(), reason="no benchmark data: set TSF_DATA_DIR to their folder")


@with_data
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_test_part_goes_on_where_train_ends(name):
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not in {DATA}")
    parts = [part for part in ("train", "val", "test") if part in BENCHMARKS[name].sha256]
    frames = {part: load_benchmark(name, part, folder=DATA) for part in parts}
    step = {"etth1": pd.Timedelta(hours=1), "stallion": pd.Timedelta(days=30)}.get(name, 1)  # June has 30 days
    for before, after in pairwise(parts):
        gap = frames[after].groupby("unique_id")["ds"].min() - frames[before].groupby("unique_id")["ds"].max()
        assert gap.eq(step).all()
    assert name in available(folder=DATA)
    if name != "etth1":
        assert frames["test"].groupby("unique_id").size().eq(BENCHMARKS[name].horizon).all()
    if "published_forecasts" in BENCHMARKS[name].sha256:
        assert load_benchmark(name, "published_forecasts", folder=DATA)["ds"].equals(frames["test"]["ds"])


@with_data
def test_etth1_is_cut_into_twelve_four_and_four_months_of_thirty_days():
    for part, days in (("train", 360), ("val", 120), ("test", 120)):
        assert load_benchmark("etth1", part, folder=DATA).groupby("unique_id").size().eq(24 * days).all()
