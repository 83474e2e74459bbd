"""Requests with their answers, for the documentation. They are true: a test posts each and compares what comes back.

All are answered by a model that needs no training, so they work on a service that has none yet.
"""

from typing import Any

from tsforecast import __version__

_MODEL = {"name": "seasonal_naive", "version": __version__, "trained_until": None, "architecture": "seasonal_naive"}

EXAMPLES: dict[str, dict[str, Any]] = {
    "daily": {
        "summary": "Two weeks of a daily series, the next three days with an 80 % interval",
        "request": {
            "series": [
                {
                    "id": "shop-17",
                    "start": "2024-01-01",
                    "freq": "D",
                    "target": [12, 15, 14, 16, 21, 30, 27, 14, 15, 16, 18, 22, None, 26],
                }
            ],
            "horizon": 3,
            "level": [80],
            "model": "seasonal_naive",
        },
        "answer": {
            "model": _MODEL,
            "forecasts": [
                {
                    "id": "shop-17",
                    "timestamps": ["2024-01-15T00:00:00", "2024-01-16T00:00:00", "2024-01-17T00:00:00"],
                    "quantiles": {"0.1": [12.75, 13.75, 14.75], "0.5": [14.0, 15.0, 16.0], "0.9": [16.0, 17.0, 18.0]},
                }
            ],
        },
    },
    "quarterly": {
        "summary": "Two quarterly series, one with its timestamps, three quantiles",
        "request": {
            "series": [
                {
                    "id": "north",
                    "timestamps": ["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01", "2024-01-01", "2024-04-01"],
                    "target": [10, 20, 30, 40, 12, 23],
                },
                {"id": "south", "start": "2023-01-01", "freq": "QS", "target": [5, 6, 7, 8, 5, 6]},
            ],
            "horizon": 2,
            "quantile_levels": [0.25, 0.5, 0.75],
            "model": "seasonal_naive",
        },
        "answer": {
            "model": _MODEL,
            "forecasts": [
                {
                    "id": "north",
                    "timestamps": ["2024-07-01T00:00:00", "2024-10-01T00:00:00"],
                    "quantiles": {"0.25": [28.333333333333332, 38.333333333333336], "0.5": [30.0, 40.0], "0.75": [32.5, 42.5]},
                },
                {
                    "id": "south",
                    "timestamps": ["2024-07-01T00:00:00", "2024-10-01T00:00:00"],
                    "quantiles": {"0.25": [7.0, 8.0], "0.5": [7.0, 8.0], "0.75": [7.0, 8.0]},
                },
            ],
        },
    },
    "integer_steps": {
        "summary": "A series on an integer clock that goes on by ten",
        "request": {
            "series": [{"id": 7, "start": 100, "freq": 10, "target": [1, 2, 4, 3]}],
            "horizon": 2,
            "quantile_levels": [0.5],
            "model": "seasonal_naive",
        },
        "answer": {
            "model": _MODEL,
            "forecasts": [{"id": 7, "timestamps": [140, 150], "quantiles": {"0.5": [3.0, 3.0]}}],
        },
    },
}
