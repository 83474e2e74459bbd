"""The [panel] section makes a panel of raw rows."""

import numpy as np
import pandas as pd
import pytest

from pipelines.panels import facts_of, moment_text, panel_line, panel_of
from pipelines.recipe import PanelOptions, Resample, Source
from tsforecast.errors import GapError

SOURCE = Source(kind="csv", path="x.csv")


def frame(*hours: int) -> pd.DataFrame:
    ds = pd.Timestamp("2024-01-01") + pd.to_timedelta(list(hours), unit="h")
    return pd.DataFrame({"unique_id": "a", "ds": ds, "y": [float(hour) for hour in hours]})


def test_rows_are_summed_into_the_steps_of_resample() -> None:
    panel = panel_of(frame(0, 5, 23, 24, 72), PanelOptions(resample=Resample(freq="D", how="sum")), SOURCE)
    assert panel.freq == "D"
    np.testing.assert_array_equal(panel.target, [28.0, 24.0, np.nan, 72.0])


def test_a_missing_step_is_refused_or_inserted_as_the_recipe_says() -> None:
    with pytest.raises(GapError):
        panel_of(frame(0, 1, 3, 4), PanelOptions(freq="h"), SOURCE)
    panel = panel_of(frame(0, 1, 3, 4), PanelOptions(freq="h", season=2, missing_steps="insert"), SOURCE)
    np.testing.assert_array_equal(panel.target, [0.0, 1.0, np.nan, 3.0, 4.0])
    assert panel.season == 2


def test_the_facts_of_a_panel_fit_in_one_line() -> None:
    panel = panel_of(frame(*range(5)).assign(y=[1.0, np.nan, 2.0, 3.0, 4.0]), PanelOptions(), SOURCE)
    line = "1 series, 5 steps of h (season 24), 2024-01-01 to 2024-01-01T04:00:00, 1 not observed"
    assert panel_line(facts_of(panel)) == line
    assert moment_text(np.int64(7)) == "7"
