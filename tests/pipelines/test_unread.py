"""What a model does not look at is said, with the models that do."""

from dataclasses import replace

import numpy as np

from pipelines.unread import unread_line, unread_of
from tsforecast.models.registry import build_model
from tsforecast.panel import Panel


def panel_with(**extra: object) -> Panel:
    plain = Panel(
        series_ids=("a",), offsets=np.array([0, 3]), timestamps=np.arange(3), target=np.ones(3), freq=1, season=1
    )  # fmt: skip
    return replace(plain, **extra)  # type: ignore[arg-type]  # fields of a panel


PRICE = {"covariates": np.zeros((3, 1)), "covariate_names": ("price",)}
SIZE = {"static_reals": np.zeros((1, 1)), "static_real_names": ("size",)}


def test_a_local_model_leaves_covariates_out_and_says_who_reads_them() -> None:
    panel = panel_with(**PRICE, **SIZE)
    assert unread_of(build_model("auto_ets"), panel) == {"covariates": ("price",), "static features": ("size",)}
    line = unread_line(build_model("auto_ets"), panel)
    assert line is not None
    assert line.startswith("auto_ets does not read covariates price and static features size: left out; ")
    assert line.endswith(" and others read them") and "auto_" not in line.split(";")[1]


def test_of_what_a_model_reads_nothing_is_said() -> None:
    assert unread_line(build_model("gru"), panel_with(**PRICE, **SIZE)) is None
    assert unread_line(build_model("auto_ets"), panel_with()) is None
    assert unread_of(build_model("prophet"), panel_with(**PRICE, **SIZE)) == {"static features": ("size",)}
    assert unread_line(build_model("seasonal_naive"), panel_with(**PRICE)) is None
