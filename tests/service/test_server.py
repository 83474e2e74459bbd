"""The real server on a loopback port: signals, slow and rude clients, its start and its end."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import service
from service.__main__ import DrainingServer, server_of
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import daily
from tests.service.fakes import MemoryStore, ramp_flow
from tsforecast.panel import Panel

ROOT = Path(str(service.__file__)).parents[1]
BODY = json.dumps({"series": [daily()], "horizon": 2})
JSON = {"Content-Type": "application/json"}


@contextmanager
def running(before: Callable[[Panel], None] | None = None, **settings: Any) -> Iterator[tuple[DrainingServer, int]]:
    """A server in a thread and its port; it is ended at the end of the block."""
    store = MemoryStore()
    store.put("demand", ramp_flow(before=before))
    chosen = Settings(**{"port": 0, "refresh_seconds": 3600.0, "shutdown_seconds": 20.0} | settings)
    app = create_app(models=store, settings=chosen)
    app.state.services.models.refresh()
    server = server_of(app, chosen, log_config=None)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        try:
            wait_for(lambda: server.started)
            yield server, port
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    """Look every 10 ms; the time limit of the test ends it."""
    never = threading.Event()
    while not condition():
        never.wait(0.01)


def connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def status(port: int, method: str, path: str, body: str | None = None) -> int:
    connection = connect(port)
    try:
        connection.request(method, path, body, JSON if body else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_a_request_in_flight_is_answered_after_the_signal_to_end() -> None:
    gate, entered = threading.Event(), threading.Event()
    holding = threading.Event()

    def before(_: Panel) -> None:
        if holding.is_set():
            entered.set()
            gate.wait(30)

    with running(before) as (server, port):
        holding.set()
        connection = connect(port)
        connection.request("POST", "/v1/forecast", BODY, JSON)
        assert entered.wait(30)
        server.handle_exit(signal.SIGTERM, None)
        wait_for(lambda: not any(one.is_serving() for one in server.servers))  # nobody new is let in
        gate.set()
        answer = connection.getresponse()
        assert (answer.status, len(json.loads(answer.read())["forecasts"])) == (200, 1)
        connection.close()


def test_while_draining_the_server_is_not_ready_but_answers_and_a_second_signal_ends_it() -> None:
    with running(drain_seconds=3600.0) as (server, port):
        assert status(port, "GET", "/readyz") == 200
        server.handle_exit(signal.SIGTERM, None)
        assert (status(port, "GET", "/readyz"), status(port, "GET", "/livez")) == (503, 200)
        assert status(port, "POST", "/v1/forecast", BODY) == 200
        assert not server.should_exit
        server.handle_exit(signal.SIGTERM, None)
        assert server.should_exit and not server.force_exit
        server.handle_exit(signal.SIGINT, None)
        assert server.force_exit


def test_draining_ends_by_itself() -> None:
    with running(drain_seconds=0.05) as (server, _):
        server.handle_exit(signal.SIGTERM, None)
        wait_for(lambda: server.should_exit)


def test_a_client_that_sends_its_body_too_slowly_gets_408_and_others_are_not_held_up() -> None:
    with running(body_seconds=0.2) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
        assert status(port, "POST", "/v1/forecast", BODY) == 200
        said = b"".join(iter(lambda: slow.recv(4096), b""))  # the server closes
        assert said.startswith(b"HTTP/1.1 408") and b"urn:tsforecast:slow-body" in said


def test_an_endless_body_is_cut_off_with_413() -> None:
    with running(max_body_bytes=10_000) as (_, port), socket.create_connection(("127.0.0.1", port), timeout=30) as rude:
        rude.sendall(
            b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sent = 0
        try:
            while sent < 50_000_000:
                rude.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
                sent += 4096
        except OSError:  # the server has closed
            pass
        assert sent < 50_000_000
        assert status(port, "POST", "/v1/forecast", BODY) == 200


def test_clients_that_go_away_leave_nothing_behind() -> None:
    with running() as (server, port):
        for sent in (
            b"POST /v1/forecast HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
            b"POST /v1",
            b"\x16\x03\x01\x02\x00",
            b"",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as rude:
                rude.sendall(sent)
        connection = connect(port)
        connection.request("POST", "/v1/forecast", BODY, JSON)
        connection.close()  # gone before its answer
        assert status(port, "POST", "/v1/forecast", BODY) == 200
        services = server.services
        wait_for(lambda: services.workers._unfinished == 0 and services.body_bytes == 0)


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TSF_")}
    return kept | variables | {"OMP_NUM_THREADS": "1"}


def test_python_m_service_starts_answers_logs_json_and_ends_with_zero_on_sigterm(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = environment(TSF_PORT=str(port), TSF_MODEL_DIR=str(tmp_path), TSF_DEFAULT_MODEL="seasonal_naive")
    server = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True)
    try:

        def ready() -> bool:
            assert server.poll() is None, "the server has ended"
            try:
                return status(port, "GET", "/readyz") == 200
            except OSError:
                return False

        wait_for(ready)
        body = json.dumps({"series": [daily(target=range(10))], "horizon": 2})
        assert status(port, "POST", "/v1/forecast", body) == 200
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert any(line.get("route") == "/v1/forecast" and line["status"] == 200 for line in lines)
    assert any("Uvicorn running on http://127.0.0.1" in line["message"] for line in lines)


@pytest.mark.parametrize(
    ("variables", "code", "says"),
    [({"TSF_PORT": "http"}, 2, "error: TSF_PORT must be a whole number, got 'http'\n"), ({"TSF_PORT": "TAKEN"}, 3, "")],
)
def test_a_start_that_cannot_be_ends_readably(tmp_path: Path, variables: dict[str, str], code: int, says: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if variables["TSF_PORT"] == "TAKEN":
            variables = {"TSF_PORT": str(taken.getsockname()[1])}
        settings = environment(TSF_MODEL_DIR=str(tmp_path), **variables)
        done = subprocess.run(
            [sys.executable, "-m", "service"], cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (code, says)
    if code == 3:
        assert "address already in use" in done.stdout
