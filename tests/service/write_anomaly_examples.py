"""python -m tests.service.write_anomaly_examples: service/anomaly_examples.py and the answer in the README, as they are now."""

import json
import pprint
import re
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
    verdict = {"model": "load", "series": "a", "start": moment(300), "end": moment(301), "label": "true alarm"}
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
            write_readme(client)
    text = text.replace(f"'version': '{__version__}'", "'version': __version__")
    (Path(str(service.__file__)).parent / "anomaly_examples.py").write_text(text, encoding="utf-8")


def write_readme(client: TestClient) -> None:
    """Put what the service answers below the request of the README."""
    path = Path(str(service.__file__)).parents[1] / "README.md"
    head, command, rest = path.read_text(encoding="utf-8").partition("curl -s http://127.0.0.1:8000/v1/anomalies ")
    asked = re.match(r".*? -d '(.*?)'", rest, flags=re.DOTALL)
    assert asked is not None, "README has no request for anomalies"
    found = client.post("/v1/anomalies", content=asked[1]).raise_for_status().json()
    answer = json.dumps(rounded(found, decimals=4), indent=1)
    short = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", _in_a_line, answer)
    rest = re.sub(r"(?<=```json\n).*?(?=\n```)", lambda _: short, rest, count=1, flags=re.DOTALL)
    path.write_text(head + command + rest, encoding="utf-8")


def _in_a_line(found: "re.Match[str]") -> str:
    return "[" + re.sub(r"\s*\n\s*", " ", found[1]) + "]"


def rounded(value: Any, *, decimals: int | None = None) -> Any:
    """The same JSON value, numbers to six digits, or to so many decimals unless that would be nothing."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if decimals is None or abs(value) < 10.0**-decimals else round(value, decimals)
    if isinstance(value, dict):
        return {name: rounded(one, decimals=decimals) for name, one in value.items()}
    return [rounded(one, decimals=decimals) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
