"""python -m tests.service.write_anomaly_examples: writes service/anomaly_examples.py anew, from what the service answers."""

import pprint
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import service
from service.app import create_app
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.conftest import TestClient
from tests.service.test_anomalies_route import moment, store_detectors, values
from tsforecast import __version__

HEAD = '''"""Requests about anomalies with their answers, for the documentation. They are true: a test posts each and compares.

Written by tests/service/write_anomaly_examples.py. The detector that scores is one that the test has stored.
"""

from typing import Any

from tsforecast import __version__

'''


def requests() -> dict[str, tuple[str, dict[str, tuple[str, dict[str, Any]]]]]:
    """Name of the table -> (path, name of the example -> (summary, request))."""
    draws, steps = np.random.default_rng(7), np.arange(75)
    cpu = [int(one) for one in np.round(100 + 30 * np.sin(2 * np.pi * steps / 12) + draws.normal(0, 2, 75))]
    memory: list[int | None] = [int(one) for one in np.round(50 + 10 * np.cos(2 * np.pi * steps / 12) + draws.normal(0, 1, 75))]
    cpu[72], memory[10] = 180, None
    one = {"id": "web-1", "start": "2026-03-01", "freq": "2h", "target": cpu}
    two = {"id": "web-1", "start": 0, "freq": 1, "channels": {"cpu": cpu, "memory": memory}}
    options = {"model": "window_energy", "options": {"window": 12}, "since": 73, "explain": False, "sensitivity": 2}
    new = {"id": "a", "start": moment(300), "freq": "h", "target": values(350)[300:302]}
    verdict = {"model": "load", "series": "a", "start": moment(350), "end": moment(352), "label": "true alarm"}
    return {
        "DETECT_EXAMPLES": (
            "",
            {
                "one_channel": (
                    "Six days in steps of two hours; learning ends where `since` begins",
                    {"series": [one], "since": "2026-03-06T22:00"},
                ),
                "two_channels": (
                    "Two channels, judged by one kind of detector, without explanations",
                    {"series": [two]} | options,
                ),
            },
        ),
        "SCORE_EXAMPLES": (
            "/score",
            {"new_values": ("The next two hours of a series that the detector knows", {"model": "load", "series": [new]})},
        ),
        "FEEDBACK_EXAMPLES": ("/feedback", {"true_alarm": ("An alarm that was right, named by its steps", verdict)}),
    }


def main() -> None:
    """Ask and write."""
    text = HEAD
    with tempfile.TemporaryDirectory() as folder:
        store_detectors(Path(folder))
        app = create_app(models=FolderStore(folder), settings=Settings(refresh_seconds=3600.0))
        app.state.services.models.refresh()
        with TestClient(app) as client:
            for table, (path, examples) in requests().items():
                found = {}
                for name, (summary, asked) in examples.items():
                    answer = client.post(f"/v1/anomalies{path}", json=asked)
                    found[name] = {"summary": summary, "request": asked, "answer": rounded(answer.raise_for_status().json())}
                written = pprint.pformat(found, width=120, sort_dicts=False)
                text += f"{table}: dict[str, dict[str, Any]] = {written}\n"
    text = text.replace(f"'version': '{__version__}'", "'version': __version__")
    (Path(str(service.__file__)).parent / "anomaly_examples.py").write_text(text, encoding="utf-8")


def rounded(value: Any) -> Any:
    """The same JSON value, numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
