"""The demo: real series -> models compared -> champions -> a service that is asked for one forecast -> a picture of it.

`make demo`. Everything it leaves is in runs/demo and in the local MLflow store; it ends by itself, and can be run again.
"""

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.__main__ import guarded, tell
from pipelines.environment import Environment
from pipelines.recipe import Recipe, RecipeFile, read_recipe
from tsforecast.panel import Panel

RECIPES = tuple(Path(__file__).with_name("recipes") / f"{name}.toml" for name in ("demo_co2_weekly", "demo_macro_quarterly"))
FOLDER = Path("runs/demo")
HISTORY = 260  # steps sent with the request
READY_WITHIN = 120.0  # seconds until the service must answer; it loads torch and the champion first
SHOWN_STEPS = 5


def main() -> int:
    """Run the demo; the exit code is 0 when all of it worked."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks on a busy machine: a second thread costs more than it gives
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description="Train, compare, promote, serve, forecast.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=_demo)
    return guarded(parser.parse_args())


def _demo(_args: argparse.Namespace) -> int:
    began, environment = time.perf_counter(), Environment(os.environ)
    files = [read_recipe(path) for path in RECIPES]
    for file in files:
        print(f"\n{_run(file, environment)}\n", flush=True)
    served = files[0].recipe
    assert isinstance(served, Recipe)  # not one of a detection
    panel = panel_of_dataset(served)
    with running_service(f"{served.name}@champion") as address:
        tell(f"service at {address}: asking the champion of {served.name} for {served.forecast.horizon} steps")
        answer = post(f"{address}/v1/forecast", request_of(served, panel))
    print(words_of(answer))
    print(f"  picture    {draw(answer, panel)}")
    print(f"\nThe demo took {time.perf_counter() - began:.0f} s. What to open next:\n{what_next(served.name)}")
    return 0


def _run(file: RecipeFile, environment: Environment) -> str:
    """Run one recipe and say what came of it."""
    from pipelines.runner import RunOptions, run_recipe
    from pipelines.summary import summary_of, to_text

    options = RunOptions(folder=FOLDER, force=not has_champion(file.recipe.name, environment))
    return to_text(summary_of(run_recipe(file, options=options, environment=environment, tell=tell)))


def has_champion(name: str, environment: Environment) -> bool:
    """Whether the store still knows the champion of an earlier demo; without it, finished jobs must run anew."""
    from pipelines.tracked import machine_tracker
    from tsforecast.errors import UnknownModel

    try:
        machine_tracker(environment).resolve(f"{name}@champion")
    except UnknownModel:
        return False
    return True


def panel_of_dataset(recipe: Recipe) -> Panel:
    """The panel of a recipe whose source is a data set."""
    from pipelines.panels import panel_of
    from tsforecast.datasets import load

    return panel_of(load(str(recipe.source.name)), recipe.panel, recipe.source)


def request_of(recipe: Recipe, panel: Panel) -> dict[str, Any]:
    """A request for what comes after the first series, with the end of it as history."""
    from pipelines.panels import moment_text

    history = panel.select([0]).tail(HISTORY)
    series = {
        "id": history.series_ids[0],
        "start": moment_text(history.timestamps[0]),
        "freq": history.freq,
        "target": [float(value) if math.isfinite(value) else None for value in history.target],
    }
    levels = list(recipe.forecast.quantile_levels)
    return {"series": [series], "horizon": recipe.forecast.horizon, "quantile_levels": levels, "model": f"{recipe.name}@champion"}


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


def draw(answer: Mapping[str, Any], panel: Panel) -> Path:
    """The fan chart of the answer after the end of its history."""
    from tsforecast.forecast import Forecast
    from tsforecast.plots import fan_chart, save

    one = answer["forecasts"][0]
    moments = [str(moment).removesuffix("Z") for moment in one["timestamps"]]
    forecast = Forecast(
        series_ids=(one["id"],),
        timestamps=np.array([moments], dtype="datetime64[ns]"),
        quantile_levels=tuple(map(float, one["quantiles"])),
        quantiles=np.array([list(one["quantiles"].values())]).transpose(0, 2, 1),  # (1, H, Q)
    )
    return save(fan_chart(panel, forecast), FOLDER / "forecast.png")


def what_next(name: str) -> str:
    """Commands and addresses."""
    commands = {
        "make mlflow": "compare the runs: http://127.0.0.1:5000",
        f"TSF_DEFAULT_MODEL={name} make serve": "the service: http://127.0.0.1:8000/docs",
        str(FOLDER / "forecast.png"): "the picture of the forecast above",
        ".venv/bin/tsforecast --help": "everything else",
    }
    wide = max(map(len, commands))
    return "\n".join(f"  {command:<{wide}}   {words}" for command, words in commands.items())


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
