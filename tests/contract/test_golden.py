"""Models stored by an earlier version still load and still forecast what they forecast then.

`python tests/contract/test_golden.py` adds the models of today under tests/golden/; never change what is there.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import tsforecast
from tsforecast.models.registry import model_class
from tsforecast.panel import Panel

GOLDEN = Path(__file__).parents[1] / "golden"
STORED = sorted(path.name for path in GOLDEN.iterdir() if (path / "manifest.json").exists())
LEVELS = (0.05, 0.5, 0.9)


def panel() -> Panel:
    steps = np.arange(60)
    waves = [10 + 3 * np.sin(steps * np.pi / 2) + steps / 20, 500 + 40 * np.cos(steps * np.pi / 2)]
    return Panel(
        series_ids=("a", "b"),
        offsets=np.array([0, 60, 120]),
        timestamps=np.tile(steps, 2),
        target=np.concatenate(waves),
        freq=1,
        season=4,
    )


def test_there_are_stored_models():
    assert {"gru-1", "lstm-1", "seasonal_naive-1"} <= set(STORED)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_model_forecasts_as_it_did(name):
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    found = tsforecast.load_model(GOLDEN / name).predict(panel(), horizon=5, quantile_levels=LEVELS)
    np.testing.assert_allclose(found.quantiles, expected["quantiles"], rtol=1e-5)
    assert found.timestamps.tolist() == expected["timestamps"]


def write(name: str, number: int) -> None:
    folder = GOLDEN / f"{name}-{number}"
    train = tsforecast.TrainConfig(max_epochs=2, steps_per_epoch=4, batch_size=16)
    predictor = model_class(name).tiny().fit(panel(), horizon=6, seed=0, train=train)
    forecast = predictor.predict(panel(), horizon=5, quantile_levels=LEVELS)
    predictor.save(folder)
    expected = {"quantiles": forecast.quantiles.tolist(), "timestamps": forecast.timestamps.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    from tsforecast.models.base import FORMAT

    for model in ("gru", "lstm", "seasonal_naive"):
        if not (GOLDEN / f"{model}-{FORMAT}").exists():
            write(model, FORMAT)
