"""How long `POST /v1/forecast` takes with a GRU, beside a route that only parses the same body.

    python tests/benchmarks/serve_latency.py [--model FOLDER] [--requests 400] [--points 500]

Two real servers on loopback, one connection to each, kept alive; requests alternate between them, one at a time. The
difference of the medians is what the service and the model add; it has to stay within 12 ms. Without --model a GRU of
default size is trained for one epoch on made-up hourly series (its speed does not depend on how good it is).
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson

ROOT = Path(__file__).resolve().parents[2]
BAR_MS = 12.0
HORIZON = 48
START_SECONDS = 120.0


def no_op_app() -> object:
    """A FastAPI app whose one route parses the body and says how many values it holds."""
    from fastapi import FastAPI, Request, Response

    app = FastAPI()

    @app.post("/v1/forecast")
    async def parse_only(request: Request) -> Response:
        body = orjson.loads(await request.body())
        return Response(orjson.dumps({"points": len(body["series"][0]["target"])}), media_type="application/json")

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def hourly(points: int, *, seed: int) -> np.ndarray:
    """A made-up hourly series with a daily and a weekly season, (points,)."""
    rng = np.random.default_rng(seed)
    hours = np.arange(points)
    daily, weekly = np.sin(2 * np.pi * hours / 24), np.cos(2 * np.pi * hours / 168)
    return np.round(100 + 30 * daily + 10 * weekly + rng.normal(0, 3, points), 2)


def train(folder: Path) -> None:
    """A GRU of default size, hourly, horizon 48, saved in `folder`."""
    import pandas as pd

    import tsforecast

    frames = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": pd.date_range("2024-01-01", periods=700, freq="h"), "y": hourly(700, seed=i)})
        for i in range(8)
    ]
    panel = tsforecast.panel_from_frame(pd.concat(frames, ignore_index=True), freq="h")
    config = tsforecast.TrainConfig(max_epochs=1, steps_per_epoch=5, progress=False)
    tsforecast.build_model("gru").fit(panel, horizon=HORIZON, seed=0, train=config).save(folder)


@contextmanager
def serving(factory: str, folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A uvicorn of its own process on a free port, ready; the connection to it is kept alive."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        factory,
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
    ]
    environment = os.environ | {
        "TSF_MODEL_DIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "benchmarks")]),
    }
    server = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        wait_until_ready(connection, server)
        yield connection
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def wait_until_ready(connection: http.client.HTTPConnection, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"a server ended with exit code {server.returncode} before it was ready")
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return
        except OSError:
            connection.close()
        time.sleep(0.1)
    raise SystemExit(f"a server was not ready after {START_SECONDS:g} s")


def ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[float, bytes]:
    """Milliseconds from the first byte sent to the last one read, and what was answered."""
    began = time.perf_counter()
    connection.request("POST", "/v1/forecast", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    took = (time.perf_counter() - began) * 1000
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}: {content.decode()}")
    return took, content


def measure(folder: Path, *, requests: int, points: int) -> dict[str, np.ndarray]:
    """Milliseconds of each request, by server."""
    series = {"id": "a", "start": "2024-01-01T00:00:00", "freq": "h", "target": hourly(points, seed=99).tolist()}
    body = orjson.dumps({"series": [series], "horizon": HORIZON, "level": [80]})
    times: dict[str, list[float]] = {"no-op": [], "forecast": []}
    with serving("serve_latency:no_op_app", folder) as plain, serving("service.app:create_app", folder) as forecast:
        for turn in range(requests + 50):
            for name, connection in (("no-op", plain), ("forecast", forecast)):
                took, content = ask(connection, body)
                if turn >= 50:  # the first ones warm up
                    times[name].append(took)
        model = orjson.loads(content)["model"]
        print(f"model {model['name']} ({model['architecture']}), {points} points, horizon {HORIZON}, body of {len(body)} bytes")
    return {name: np.array(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a saved hourly model with a horizon of at least 48")
    parser.add_argument("--requests", type=int, default=400, help="measured requests to each server")
    parser.add_argument("--points", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model
        if folder is None:
            folder = Path(scratch) / "gru"
            train(folder)
        times = measure(folder.resolve(), requests=options.requests, points=options.points)
    print(f"{'':10}{'p50 ms':>9}{'p90 ms':>9}{'p99 ms':>9}{'mean ms':>9}")
    for name, values in times.items():
        p50, p90, p99 = np.percentile(values, (50, 90, 99))
        print(f"{name:10}{p50:9.2f}{p90:9.2f}{p99:9.2f}{values.mean():9.2f}")
    added = float(np.median(times["forecast"]) - np.median(times["no-op"]))
    print(f"the service adds {added:.2f} ms to the median; bar {BAR_MS:g} ms: {'met' if added <= BAR_MS else 'MISSED'}")
    return 0 if added <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
