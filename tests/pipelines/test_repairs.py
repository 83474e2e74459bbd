"""[[repairs]] of a recipe: what becomes of the panel, where the log is, who is told, and when the job runs anew."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.environment import Environment
from pipelines.flows import check_names, repairs_of
from pipelines.panels import panel_of, repaired_line, repaired_panel_of, warnings_of
from pipelines.recipe import PanelOptions, RecipeFile, Resample, Source, Step
from pipelines.runner import RunOptions, run_recipe
from pipelines.summary import summary_of, to_text
from pipelines.workspace import Workspace
from tests.pipelines.fakes import RECIPE, TREND, quarters
from tsforecast.errors import DuplicateError, GapError, RecipeError

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
SOURCE = Source(kind="csv", path="x.csv")
CLOCK = '[[repairs]]\nname = "clock"\nfreq = "QS"\n'
FILL = '[[repairs]]\nname = "fill"\nmethod = "linear"\n'
KEYS = '[[repairs]]\nname = "drop_missing_keys"\n'


def broken() -> pd.DataFrame:
    """quarters() without row 5 of "up", row 7 not observed, and a row without a timestamp."""
    frame = quarters().reset_index(drop=True).drop(index=5)
    frame.loc[7, "y"] = np.nan
    return pd.concat([frame, pd.DataFrame({"unique_id": ["up"], "ds": [None], "y": [77.0]})])


def test_a_broken_source_is_repaired_and_each_change_is_in_the_log_of_the_run(write: Write, run: Run) -> None:
    work = run(write(KEYS, CLOCK, FILL, TREND, data=broken()))
    assert work.panel.target.tolist() == [*range(40), *range(100, 140)]
    log = pd.read_parquet(work.path("repairs.parquet"))
    assert log["step"].tolist() == ["drop_missing_keys", "clock", "fill", "fill"]
    assert log["new"].tolist()[2:] == [5, 7] and log["ds"].dt.strftime("%Y-%m").tolist()[1:] == ["2011-04", "2011-04", "2011-10"]
    summary = summary_of(work)
    assert summary["panel"]["repaired"] == {"drop_missing_keys": 1, "clock": 1, "fill": 2}
    assert "  repaired   fill 2, clock 1, drop_missing_keys 1" in to_text(summary)
    assert "quarters: prepare: repaired fill 2, clock 1, drop_missing_keys 1" in work.told  # type: ignore[attr-defined]


def test_without_the_repairs_the_same_source_is_refused(write: Write, run: Run) -> None:
    with pytest.raises(GapError):
        run(write(KEYS, TREND, data=broken()))


def test_a_clean_source_leaves_no_log(write: Write, run: Run) -> None:
    file = write(CLOCK, FILL, TREND)
    work = run(file)
    assert not work.path("repairs.parquet").exists() and "repaired" not in summary_of(work)["panel"]
    assert "repaired" not in to_text(summary_of(work))


def test_other_repairs_run_the_job_anew_and_the_same_ones_do_not(write: Write, run: Run) -> None:
    run(write(KEYS, CLOCK, FILL, TREND, data=broken()))
    again = run(write(KEYS, CLOCK, FILL, TREND))
    assert "quarters: prepare has run already (--force reads the source again)" in again.told  # type: ignore[attr-defined]
    other = run(write(KEYS, CLOCK, TREND))
    assert "quarters: prepare" in other.told  # type: ignore[attr-defined]
    assert np.isnan(other.panel.target[[5, 7]]).all()
    assert pd.read_parquet(other.path("repairs.parquet"))["step"].tolist() == ["drop_missing_keys", "clock"]


def test_a_log_of_repairs_that_are_no_longer_asked_for_is_gone(write: Write, run: Run) -> None:
    data = quarters().reset_index(drop=True)
    data.loc[7, "y"] = np.nan
    log = run(write(FILL, TREND, data=data), jobs=("prepare",)).path("repairs.parquet")
    assert log.exists()
    run(write(TREND), jobs=("prepare",))
    assert not log.exists()


def test_repairs_see_nothing_after_as_of(write: Write, run: Run) -> None:
    data = quarters()
    data.loc[data["ds"] == "2015-01-01", "y"] = np.nan
    data.loc[data["ds"] > "2015-01-01", "y"] = 1e9
    filled = '[[repairs]]\nname = "fill"\nmethod = "linear"\ninside_only = false\n'
    work = run(write(filled, TREND, data=data), as_of="2015-01-01", jobs=("prepare",))
    assert work.panel.target.tolist() == [*range(20), 19, *range(100, 120), 119]


def test_the_future_of_covariates_gets_the_repairs_of_rows_too(write: Write, run: Run) -> None:
    days = pd.date_range("2024-03-01", periods=60, freq="D").strftime("%Y-%m-%d")
    data = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.arange(60.0), "plan": ["1,5"] * 60})
    head = RECIPE.replace('path = "quarters.csv"', 'path = "quarters.csv"\ncovariates = ["plan"]')
    steps = '[[repairs]]\nname = "numbers"\ndecimal = ","\n[[repairs]]\nname = "localize"\ntz = "Europe/Berlin"\n'
    work = run(write(steps, TREND, head=head, data=data), as_of="2024-03-30", jobs=("prepare",))
    assert work.panel.tz == "Europe/Berlin"
    assert work.future is not None and work.future.tolist() == [[[1.5]] * 4]
    log = pd.read_parquet(work.path("repairs.parquet"))
    assert log["step"].tolist() == ["numbers:plan"] * 60 and log["ds"].is_monotonic_increasing


def test_a_series_that_was_trimmed_finds_the_covariates_of_the_steps_after_its_end(write: Write, run: Run) -> None:
    data = quarters().assign(plan=[f"{i},0" for i in range(80)])
    data.loc[(data["unique_id"] == "up") & (data["ds"] >= "2015-01-01"), "y"] = np.nan
    head = RECIPE.replace('path = "quarters.csv"', 'path = "quarters.csv"\ncovariates = ["plan"]')
    steps = '[[repairs]]\nname = "numbers"\ndecimal = ","\n[[repairs]]\nname = "trim"\n'
    work = run(write(steps, TREND, head=head, data=data), as_of="2018-10-01", jobs=("prepare",))
    assert work.panel.lengths.tolist() == [20 - 1, 36]  # leading zero of "up" too
    assert work.future is not None and work.future[:, :, 0].tolist() == [[20, 21, 22, 23], [76, 77, 78, 79]]
    assert summary_of(work)["panel"]["repaired"] == {"numbers:plan": 80, "trim": 17}  # each once


def test_mlflow_has_the_counts_and_the_log(write: Write, tmp_path: Path, tracking_folder: Path) -> None:
    file = write(KEYS, CLOCK, FILL, TREND, head=RECIPE.replace("[tracking]\nenabled = false\n", ""), data=broken())
    work = run_recipe(
        file,
        options=RunOptions(folder=tmp_path / "runs", jobs=("prepare", "train")),
        environment=Environment({"TSF_MLRUNS": str(tracking_folder)}),
    )
    assert work.tracker is not None
    client = work.tracker.store.client
    run = client.get_run(work.facts_of("train")["trend"]["run_id"])
    assert run.data.metrics["repaired"] == 4 and run.data.tags["repaired"] == "fill 2, clock 1, drop_missing_keys 1"
    path = client.download_artifacts(run.info.run_id, "tables/repairs.parquet", str(tmp_path))
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(work.path("repairs.parquet")))


# Panels


def frame(*hours: float) -> pd.DataFrame:
    ds = pd.Timestamp("2024-01-01") + pd.to_timedelta(list(hours), unit="h")
    return pd.DataFrame({"unique_id": "a", "ds": ds, "y": [float(hour) for hour in hours]})


def test_missing_steps_and_resampling_of_the_panel_options_are_counted_too() -> None:
    made = repaired_panel_of(frame(0, 1, 3), PanelOptions(freq="h", missing_steps="insert"), SOURCE)
    assert made.counts == {"missing_steps": 1}
    made = repaired_panel_of(frame(0, 5, 23, 24, 72), PanelOptions(resample=Resample(freq="D", how="sum")), SOURCE)
    assert made.counts == {"resample": 2}  # a sum and a step without rows; two have their one row at midnight
    np.testing.assert_array_equal(made.panel.target, [28, 24, np.nan, 72])


def test_resampling_stands_between_the_repairs_of_rows_and_those_of_values() -> None:
    rows = pd.concat([frame(0, 5), frame(5), frame(72)]).assign(y=[1.0, np.inf, 4.0, 9.0])
    options = PanelOptions(resample=Resample(freq="D", how="sum"))
    steps = tuple(Step(name=name) for name in ("infinities", "duplicates", "fill"))
    made = repaired_panel_of(rows, options, SOURCE, steps=steps)
    np.testing.assert_allclose(made.panel.target, [5, 5 + 4 / 3, 5 + 8 / 3, 9])
    assert list(made.counts) == ["infinities", "duplicates", "resample", "fill"]


def test_what_no_step_repairs_is_refused_as_ever() -> None:
    with pytest.raises(DuplicateError):
        panel_of(pd.concat([frame(0, 1), frame(1)]), PanelOptions(), SOURCE)


def test_a_step_that_changes_most_of_a_panel_is_worth_a_warning() -> None:
    counts = {"resample": 10, "fill": 5, "outliers": 6}
    assert repaired_line(counts) == "resample 10, outliers 6, fill 5"
    (warning,) = warnings_of({"rows": 10, "repaired": counts})
    assert warning == "repair 'outliers' changed 6 values, 60% of the 10 rows of the panel"
    assert warnings_of({"rows": 10}) == []


def test_the_summary_warns_of_it(write: Write, run: Run) -> None:
    data = quarters()
    data["y"] = -data["y"] - 1
    work = run(write('[[repairs]]\nname = "non_negative"\n', TREND, data=data), jobs=("prepare",))
    line = "repair 'non_negative' changed 80 values, 100% of the 80 rows of the panel"
    assert f"  WARNING    {line}" in to_text(summary_of(work))
    assert f"quarters: prepare: {line}" in work.told  # type: ignore[attr-defined]


# Names


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ('[[repairs]]\nname = "fil"\n', "recipe.toml: repairs[0]: no repair 'fil'; did you mean 'fill'?"),
        (CLOCK + '[[repairs]]\nname = "fill"\nlimt = 3\n', "repairs[1]: repair 'fill' has no option 'limt'"),
        ('[[repairs]]\nname = "clock"\nfreq = "hourly"\n', "repairs[0]: unknown freq 'hourly'"),
        (FILL + CLOCK, "repairs[1]: repair 'clock' works on raw rows, but stands behind 'fill'"),
    ],
)
def test_a_repair_that_does_not_exist_is_named_with_its_place(write: Write, steps: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_names(write(steps, TREND))
    assert message in str(caught.value)


def test_a_list_of_factors_is_read_from_the_recipe(write: Write) -> None:
    (step,) = repairs_of(write('[[repairs]]\nname = "unit_jumps"\nfactors = [1000]\n', TREND).recipe.repairs)
    assert step == repairs_of((Step(name="unit_jumps", options={"factors": (1000.0,)}),))[0]


def test_resampling_does_not_stand_beside_covariates(write: Write) -> None:
    head = RECIPE.replace('path = "quarters.csv"', 'path = "quarters.csv"\ncovariates = ["plan"]')
    with pytest.raises(RecipeError, match=r"repairs\[0\] \(resample\) keeps the target only; leave source.covariates out"):
        write('[[repairs]]\nname = "resample"\nfreq = "YS"\n', TREND, head=head)
