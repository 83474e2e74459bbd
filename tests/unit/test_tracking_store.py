"""Opening a tracking store: which one, how quietly, and what is said when it cannot be opened."""

import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.unit.tracking_cases import NAIVE, Backtest, fitted, panel_of, version_with
from tsforecast.errors import TrackingError
from tsforecast.models.base import Epoch
from tsforecast.tracking import mlflow_ui_command, open_tracking
from tsforecast.tracking import store as store_module
from tsforecast.tracking.store import import_mlflow, without_password

ROOT = Path(__file__).parents[2]


def test_without_an_address_the_store_is_a_sqlite_file_in_the_folder(tracking_folder):
    tracker = open_tracking(folder=tracking_folder)
    assert tracker.uri == f"sqlite:///{tracking_folder}/mlflow.db"
    assert tracker.store.artifacts == tracking_folder / "artifacts"


def test_the_environment_names_the_store_and_an_argument_overrules_it(tracking_folder, tmp_path, monkeypatch):
    other = tmp_path / "other.db"
    other.write_bytes((tracking_folder / "mlflow.db").read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    assert open_tracking(folder=tracking_folder).uri == f"sqlite:///{other}"
    assert open_tracking(folder=tracking_folder).store.artifacts == tmp_path / "artifacts"
    assert open_tracking(f"sqlite:///{tracking_folder}/mlflow.db").uri == f"sqlite:///{tracking_folder}/mlflow.db"


@pytest.mark.parametrize("address", ["mlruns", "file:///somewhere/mlruns"])
def test_a_plain_folder_is_refused_with_the_address_to_use(address, tmp_path):
    with pytest.raises(
        TrackingError, match=rf"no runs in plain files any more, got '{address}'; use sqlite:///{tmp_path}/mlflow.db"
    ):
        open_tracking(address, folder=tmp_path)


def test_a_server_that_does_not_listen_is_named_at_once():
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TrackingError, match=rf"no MLflow server answers at http://u:\*\*\*@127.0.0.1:{port}: .*; start it"):
        open_tracking(f"http://u:secret@127.0.0.1:{port}")


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers /health like an MLflow server, and 404 to everything else."""

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_listens_passes_with_credentials_a_path_or_settings_of_its_own():
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        for uri in (f"http://{place}", f"http://ann:secret@{place}/", f"http://{place}/behind/a/path", f"https://{place}"):
            store_module._probe_server(uri)
        server.shutdown()


def test_an_unknown_kind_of_address_is_refused_without_showing_its_password(tmp_path):
    with pytest.raises(
        TrackingError, match=r"tracking store sybase://u:\*\*\*@host/db cannot be opened: .*; check the address"
    ) as caught:
        open_tracking("sybase://u:secret@host/db", folder=tmp_path)
    assert "secret" not in str(caught.value)


def test_a_locked_file_says_that_another_process_holds_it(tracking_folder, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_WAIT_S", 0.01)
    with closing(sqlite3.connect(tracking_folder / "mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"mlflow\.db cannot be opened: database is locked; another process holds it"):
            open_tracking(folder=tracking_folder)


def test_a_file_that_is_no_database_says_so(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database at all, " * 100)
    with pytest.raises(TrackingError, match="file is not a database; move the file away or name another one"):
        open_tracking(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "mlruns").write_text("a file where the folder should be")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be opened: .*; check that the folder can be written"):
        open_tracking(f"sqlite:///{tmp_path}/mlruns/mlflow.db")


def test_a_password_is_hidden_and_an_address_without_one_left_alone():
    assert without_password("postgresql://ann:a%40b@db:5432/runs?x=1") == "postgresql://ann:***@db:5432/runs?x=1"
    assert without_password("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"


def test_telemetry_is_off_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    import_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    import_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_importing_tracking_does_not_import_mlflow_or_torch():
    code = "import sys, tsforecast.tracking; print(sorted({'mlflow', 'torch', 'sqlalchemy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_recording_and_loading_print_nothing_and_leave_no_other_store_behind(tracking_folder, tmp_path, monkeypatch, capfd):
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    tracker, panel = open_tracking(folder=tracking_folder), panel_of()
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.callback(Epoch(number=1, values={"train_loss": 1.0}))
        run.log_scores(Backtest())
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    tracker.load("shop/1")
    assert capfd.readouterr() == ("", "")
    assert list(cwd.iterdir()) == []
    assert {path.name for path in tracking_folder.iterdir()} == {"mlflow.db", "mlflow.db.lock", "artifacts"}


def test_artifacts_lie_beside_the_database_under_the_experiment(tracking_folder):
    tracker = open_tracking(folder=tracking_folder)
    with tracker.training_run(experiment="shop 7/ä", run_name="n", flow=None, panel=panel_of(), recipe_text="x = 1\n") as run:
        pass
    assert (tracking_folder / "artifacts" / "shop_7_" / run.run_id / "artifacts" / "recipe.toml").read_text() == "x = 1\n"


def test_a_folder_with_spaces_works(migrated_tracking_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "my runs"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(migrated_tracking_store.read_bytes())
    tracker, panel = open_tracking(folder=folder), panel_of()
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    assert tracker.load("shop/1")[0].facts.horizon == 7


def test_a_deleted_experiment_is_named_with_the_way_back(tracking_folder):
    tracker = open_tracking(folder=tracking_folder)
    number = tracker.store.experiment_id("shop")
    tracker.store.client.delete_experiment(number)
    with pytest.raises(TrackingError, match=f"experiment 'shop' was deleted; .* --experiment-id {number}"):
        tracker.store.experiment_id("shop")


def test_an_experiment_that_another_process_just_made_is_used(tracking_folder, monkeypatch):
    tracker = open_tracking(folder=tracking_folder)
    number = tracker.store.experiment_id("shop")
    answers = iter([None])  # the first look finds nothing, as it did before the other process made it
    look = tracker.store.client.get_experiment_by_name
    monkeypatch.setattr(tracker.store.client, "get_experiment_by_name", lambda name: next(answers, look(name)))
    assert tracker.store.experiment_id("shop") == number


def test_a_store_that_breaks_later_says_what_could_not_be_done(tracking_folder, capfd):
    tracker = open_tracking(folder=tracking_folder)
    version_with(tracker)
    with closing(sqlite3.connect(tracking_folder / "mlflow.db")) as connection:
        connection.execute("ALTER TABLE model_versions RENAME TO gone")
    with pytest.raises(TrackingError, match=r"could not look up 'shop': the tracking store sqlite:.* answered .*no such table"):
        tracker.versions("shop")
    assert capfd.readouterr() == ("", "")  # MLflow would log pages about the same


def test_the_ui_command_is_one_worker_without_job_processes_or_telemetry(tracking_folder):
    argv, environment = mlflow_ui_command(open_tracking(folder=tracking_folder), port=5001)
    assert argv[1:4] == ["-m", "mlflow", "server"]
    options = dict(zip(argv[4::2], argv[5::2], strict=True))
    assert options == {
        "--backend-store-uri": f"sqlite:///{tracking_folder}/mlflow.db",
        "--artifacts-destination": (tracking_folder / "artifacts").as_uri(),
        "--host": "127.0.0.1",
        "--port": "5001",
        "--workers": "1",
    }
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PATH"] == os.environ["PATH"]


def test_no_ui_is_started_for_a_store_that_is_a_server(tracking_folder):
    from dataclasses import replace

    tracker = open_tracking(folder=tracking_folder)
    remote = replace(tracker, store=replace(tracker.store, uri="http://127.0.0.1:5000", artifacts=None))
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:5000 is a server already; open that address in a browser"):
        mlflow_ui_command(remote)


def test_a_database_that_was_not_made_to_its_end_does_not_get_the_name(migrated_tracking_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole = migrated_tracking_store.read_bytes()
    monkeypatch.setattr(store_module, "_remove_sqlite", lambda path: None)  # a killed process tidies nothing up

    def killed(uri, artifacts, *, of):
        Path(uri.removeprefix("sqlite:///")).write_bytes(whole[:8192])
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "_migrate", killed)
    with pytest.raises(KeyboardInterrupt):
        open_tracking(folder=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".mlflow.db.new", "mlflow.db.lock"}
    monkeypatch.undo()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def migrate(uri, artifacts, *, of):
        path = Path(uri.removeprefix("sqlite:///"))
        assert path.stat().st_size == 0  # nothing of what was left
        path.write_bytes(whole)

    monkeypatch.setattr(store_module, "_migrate", migrate)
    (tmp_path / "mlflow.db").touch()  # as sqlite leaves it where nothing was written
    (tmp_path / "mlflow.db-journal").write_bytes(b"of a database that was deleted")
    assert open_tracking(folder=tmp_path).names() == []
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_who_waited_for_another_process_to_make_the_database_uses_that_one(migrated_tracking_store, tmp_path, monkeypatch):
    @contextmanager
    def waited(path):
        path.write_bytes(migrated_tracking_store.read_bytes())
        yield

    monkeypatch.setattr(store_module, "_one_at_a_time", waited)
    monkeypatch.setattr(store_module, "_make_sqlite", lambda *_: pytest.fail("made twice"))
    assert open_tracking(f"sqlite:///{tmp_path}/mlflow.db").names() == []


def test_a_database_that_an_older_release_left_half_made_says_so(tmp_path):
    import sqlalchemy

    with (
        pytest.raises(TrackingError, match=r"sqlite:///x\.db cannot be opened: .*; a process was killed while it .*move it away"),
        store_module._opening("sqlite:///x.db"),
    ):
        raise sqlalchemy.exc.OperationalError("CREATE", {}, Exception("table _alembic_tmp_params already exists"))
    with closing(sqlite3.connect(tmp_path / "no.db")) as connection:
        connection.execute("CREATE TABLE other (x INTEGER)")
    assert store_module._has_tables(tmp_path / "no.db") and not store_module._has_tables(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


KILLED = """
import os, signal, sys
import sqlalchemy
from tsforecast.tracking import open_tracking
def mortal(connection, cursor, statement, *_):
    if statement.strip().startswith("DROP TABLE params"):
        os.kill(os.getpid(), signal.SIGKILL)
sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", mortal)
open_tracking(folder=sys.argv[1])
"""


@pytest.mark.slow
def test_a_process_that_was_killed_in_the_middle_of_a_migration_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert (tmp_path / ".mlflow.db.new").stat().st_size > 0
    tracker = open_tracking(folder=tmp_path)
    assert tracker.names() == [] and not (tmp_path / ".mlflow.db.new").exists()
    assert tracker.store.client.get_experiment("0").artifact_location == (tmp_path / "artifacts" / "0").as_uri()


@pytest.mark.slow
def test_two_processes_may_open_a_new_folder_at_once(tmp_path):
    code = "import sys; from tsforecast.tracking import open_tracking; print(open_tracking(folder=sys.argv[1]).names())"
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new")], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0].decode().strip() for process in both] == ["[]", "[]"]
    assert [process.returncode for process in both] == [0, 0]
