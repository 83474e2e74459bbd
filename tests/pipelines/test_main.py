"""Commands in, exit codes out."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.__main__ import exit_code_of, main
from pipelines.recipe import RecipeFile
from pipelines.workspace import Busy, NotYet
from tests.pipelines.fakes import BROKEN, RECIPE, TREND, WRONG, quarters
from tsforecast.errors import DataError, ModelError, NotBetter, OptionError, RecipeError, TrackingError, UnknownModel

Write = Callable[..., RecipeFile]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("models", "code"), [((TREND,), 0), ((BROKEN, TREND), 3), ((WRONG,), 4), ((WRONG, BROKEN), 3)])
def test_the_exit_code_says_how_the_run_ended(write: Write, models: tuple[str, ...], code: int) -> None:
    write(*models)
    assert main(["run", "recipe.toml", "--quiet"]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 1), (ModelError("x"), 1), (TrackingError("x"), 1), (ValueError("x"), 1),
        (RecipeError("x"), 2), (OptionError("x"), 2), (UnknownModel("x"), 2), (NotYet("x"), 2),
        (NotBetter("x"), 4), (Busy("x"), 5),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_the_summary_is_for_people(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(TREND, WRONG)
    main(["run", "recipe.toml", "--as-of", "2018-01-01"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "quarters as of 2018-01-01T00:00:00"
    assert lines[1] == "  panel      2 series, 66 steps of QS-JAN (season 4), 2010-01-01 to 2018-01-01, 0 not observed"
    assert lines[3].split() == ["model", "mase", "wql", "coverage_80", "seconds"]
    assert [line.split()[0] for line in lines[4:7]] == ["trend", "seasonal_naive", "wrong"]
    assert lines[8] == "  champion   trend promoted: mase 0.125 of trend against 1 of seasonal_naive"
    assert lines[9:11] == [
        "  forecast   2 series, 4 steps, written to",
        "             runs/quarters/2018-01-01/forecast.parquet",
    ]
    assert lines[11].startswith("  run        runs/quarters/2018-01-01 (prepare ")
    assert err.splitlines()[:2] == ["quarters: prepare", "quarters: train"]


def test_the_summary_is_for_programs_too(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(TREND, '[sink]\nkind = "csv"\npath = "{recipe}.csv"\n')
    main(["run", "recipe.toml", "--json", "--quiet"])
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert summary["champion"]["model"] == "trend" and summary["forecast"]["written"][1].endswith("/quarters.csv")
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "none.toml"], 2, "tsforecast: none.toml cannot be read: No such file or directory"),
        (["run", "recipe.toml", "--as-of", "soon"], 2, "tsforecast: as_of must be a timestamp such as 2024-01-31"),
        (["run", "recipe.toml", "--jobs", "fly"], 2, "tsforecast: no job 'fly'; jobs: prepare, train"),
        (["run", "recipe.toml", "--jobs", "forecast"], 2, "champion.json is not there yet; run job 'promote' first"),
        (["run", "recipe.toml", "--as-of", "1999-01-01"], 1, "tsforecast: no row is as old as 1999-01-01T00:00:00"),
        (["schedule", "recipe.toml"], 2, "tsforecast: recipe.toml: [schedule] is missing"),
    ],
)
def test_an_error_is_one_line(
    write: Write, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    write(TREND)
    assert main([*arguments, "--quiet"] if arguments[0] == "run" else arguments) == code
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_an_unexpected_error_names_its_kind_and_debug_raises_it(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(TREND)
    (tmp_path / "runs").write_text("a file where a folder should be")
    assert main(["run", "recipe.toml", "--quiet"]) == 1
    assert "tsforecast: unexpected FileExistsError: " in capsys.readouterr().err.replace("NotADirectoryError", "FileExistsError")
    with pytest.raises(OSError):
        main(["run", "recipe.toml", "--quiet", "--debug"])


def test_sigterm_ends_a_run_as_ctrl_c_does(write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    write(TREND, '[[models]]\nname = "stopped"\n')
    assert main(["run", "recipe.toml", "--quiet"]) == 130
    assert capsys.readouterr().err == "tsforecast: stopped\n"
    assert signal.getsignal(signal.SIGTERM) == before
    folder = tmp_path / "runs" / "quarters" / "2019-10-01"
    assert (folder / "models" / "trend").exists() and not (folder / "models" / "stopped").exists()
    assert not (folder / "jobs" / "train.json").exists()


def test_wrong_words_on_the_command_line_are_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2


def test_a_password_reaches_neither_summary_nor_run_folder(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "s3cret")
    (tmp_path / "s3cret").mkdir()
    sink = '[sink]\nkind = "sql"\nurl = "sqlite:///${PW}/out.db"\ntable = "f"\n'
    write(sink, TREND, data=quarters(), head=RECIPE)
    assert main(["run", "recipe.toml"]) == 0
    out, err = capsys.readouterr()
    assert "table f of sqlite:///${PW}/out.db" in out
    assert "s3cret" not in out + err
    for path in (tmp_path / "runs").rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path
    monkeypatch.setenv("PW", "0ther/nowhere")
    assert main(["run", "recipe.toml", "--force", "--jobs", "forecast"]) == 1
    assert "0ther" not in capsys.readouterr().err
