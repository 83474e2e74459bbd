"""The demo: real series -> models compared -> champions -> a service that is asked for one forecast -> a picture of it.

`make demo`. Everything it leaves is in runs/demo and in the local MLflow store; it ends by itself, and can be run again.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pipelines.__main__ import guarded, tell

RECIPES = ("demo_co2_weekly", "demo_macro_quarterly")
SERVED = RECIPES[0]
FOLDER = Path("runs/demo")
HORIZON, LEVELS = 26, (0.025, 0.1, 0.5, 0.9, 0.975)
READY_WITHIN = 120.0  # seconds until the service must answer; it loads torch and the champion first
SHOWN_STEPS = 5


def main() -> int:
    """Run the demo; the exit code is 0 when all of it worked."""
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description="Train, compare, promote, serve, forecast.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=_demo)
    return guarded(parser.parse_args())


def _demo(_args: argparse.Namespace) -> int:
    began = time.perf_counter()
    for name in RECIPES:
        print(f"\n{_run(name)}\n", flush=True)
    request = last_years(SERVED)
    with running_service(f"{SERVED}@champion") as address:
        tell(f"service at {address}: asking the champion of {SERVED} for {HORIZON} weeks")
        answer = post(f"{address}/v1/forecast", request)
    print(words_of(answer))
    picture = draw(answer)
    print(f"  picture    {picture}")
    print(f"\nThe demo took {time.perf_counter() - began:.0f} s. What to open next:\n{what_next()}")
    return 0


def _run(name: str) -> str:
    """Run one recipe and say what came of it."""
    from pipelines.environment import Environment
    from pipelines.recipe import read_recipe
    from pipelines.runner import RunOptions, run_recipe
    from pipelines.summary import summary_of, to_text

    environment = Environment(os.environ)
    file = read_recipe(Path(__file__).with_name("recipes") / f"{name}.toml")
    options = RunOptions(folder=FOLDER, force=not has_champion(name, environment))
    return to_text(summary_of(run_recipe(file, options=options, environment=environment, tell=tell)))


def has_champion(name: str, environment: Any) -> bool:
    """Whether the store still knows the champion of an earlier demo; without it, finished jobs must run anew."""
    from pipelines.tracked import machine_tracker
    from tsforecast.errors import UnknownModel

    try:
        machine_tracker(environment).resolve(f"{name}@champion")
    except UnknownModel:
        return False
    return True


def last_years(name: str, steps: int = 260) -> dict[str, Any]:
    """A request for the weeks after the data, with the last five years of them as history."""
    from pipelines.panels import moment_text
    from tsforecast.datasets import load
    from tsforecast.preprocessing.validate import panel_from_frame

    panel = panel_from_frame(load(name.removeprefix("demo_"))).tail(steps)
    series = {
        "id": panel.series_ids[0],
        "start": moment_text(panel.timestamps[0]),
        "freq": panel.freq,
        "target": [None if value != value else float(value) for value in panel.target],
    }
    return {"series": [series], "horizon": HORIZON, "quantile_levels": list(LEVELS), "model": f"{name}@champion"}


@contextmanager
def running_service(model: str) -> Iterator[str]:
    """The address of a service that is ready; it ends with the block, however the block ends."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "service.log"
    address = f"http://127.0.0.1:{(port := free_port())}"
    environment = os.environ | {"TSF_HOST": "127.0.0.1", "TSF_PORT": str(port), "TSF_DEFAULT_MODEL": model}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "service"]
        service = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_until_ready(address, service, log)
            yield address
        finally:
            service.terminate()
            try:
                service.wait(timeout=15)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()


def wait_until_ready(address: str, service: "subprocess.Popen[bytes]", log: Path) -> None:
    """Ask until the service says that it is ready.

    Raises:
        RuntimeError: it ended, or took too long; the message names its log.
    """
    deadline, reason = time.monotonic() + READY_WITHIN, "it does not answer"
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with exit code {service.returncode}; see {log}")
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode(errors="replace")
        except OSError:
            reason = "it does not answer"
        time.sleep(0.2)
    raise RuntimeError(f"the service was not ready within {READY_WITHIN:.0f} s: {reason}; see {log}")


def post(address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request.

    Raises:
        RuntimeError: the service refused it; the message is the service's.
    """
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return dict(json.load(response))
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"POST {address} answered {error.code}: {error.read().decode(errors='replace')}") from error


def words_of(answer: Mapping[str, Any]) -> str:
    """The answer for a person: model, and the first steps of its forecast."""
    model, forecast = answer["model"], answer["forecasts"][0]
    levels = list(forecast["quantiles"])
    lines = [
        f"POST /v1/forecast answered, {model['name']} version {model['version']}, trained until {model['trained_until']}:",
        "  " + "".join(cell.rjust(12) for cell in ("", *levels)),
    ]
    for step, moment in enumerate(forecast["timestamps"][:SHOWN_STEPS]):
        values = "".join(f"{forecast['quantiles'][level][step]:12.2f}" for level in levels)
        lines.append(f"  {str(moment)[:10]:<12}{values}")
    return "\n".join([*lines, f"  … {len(forecast['timestamps'])} steps for {forecast['id']!r}"])


def draw(answer: Mapping[str, Any]) -> Path:
    """The fan chart of the answer after the last two years of history."""
    import numpy as np

    from tsforecast.datasets import load
    from tsforecast.forecast import Forecast
    from tsforecast.plots import fan_chart, save
    from tsforecast.preprocessing.validate import panel_from_frame

    one = answer["forecasts"][0]
    quantiles = np.array([[one["quantiles"][str(level)] for level in LEVELS]]).transpose(0, 2, 1)  # (1, H, Q)
    moments = [str(moment).removesuffix("Z") for moment in one["timestamps"]]
    forecast = Forecast(
        series_ids=(one["id"],),
        timestamps=np.array([moments], dtype="datetime64[ns]"),
        quantile_levels=LEVELS,
        quantiles=quantiles,
    )
    return save(fan_chart(panel_from_frame(load(SERVED.removeprefix("demo_"))), forecast), FOLDER / "forecast.png")


def what_next() -> str:
    """Commands and addresses."""
    return "\n".join(
        [
            "  make mlflow                                       compare the runs: http://127.0.0.1:5000",
            f"  TSF_DEFAULT_MODEL={SERVED} make serve    the service: http://127.0.0.1:8000/docs",
            f"  {FOLDER / 'forecast.png'}                            the forecast above",
            "  .venv/bin/tsforecast --help                       everything else",
        ]
    )


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
