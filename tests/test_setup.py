"""What `make` needs of the checkout: a lock without addresses, and words for what is missing."""

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "constraints.txt").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def make(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"} | variables
    )


def test_the_lock_is_plain_names_and_versions() -> None:
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", line), line  # no +cpu, no address, no path
    assert not [line for line in LOCK if line.lower().startswith(("nvidia", "cuda", "triton", "tsforecast"))]


def test_the_lock_holds_every_requirement_at_a_version_it_allows() -> None:
    locked = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LOCK)}
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, text
    assert locked["torch"] == "2.13.0" and locked["pandas"] == "2.3.3"


def test_the_tests_run_with_the_locked_torch() -> None:
    if not (ROOT / ".venv" / ".stamp").exists():
        pytest.skip("this environment was not made by make")
    assert metadata.version("torch").partition("+")[0] == "2.13.0"


def test_nothing_that_sets_up_names_an_index() -> None:
    for name in ("Makefile", "constraints.txt", ".ci/run", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text().replace("http://127.0.0.1", ""), name


def test_every_target_is_explained_and_needs_no_set_up_first() -> None:
    told = make("help").stdout
    for target in ("setup", "demo", "test", "lint", "serve", "schedule", "mlflow", "lock", "bench", "clean"):
        assert f"  make {target} " in told
        if target not in ("clean",):
            assert "/.stamp" in next(
                line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(f"{target}:")
            )


@pytest.mark.parametrize("python", ["/bin/false", "/no/python"])
def test_a_missing_python_says_what_to_install(python: str) -> None:
    done = make("python", f"PYTHON={python}")
    assert done.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is missing. Debian and Ubuntu: apt install python3.11 python3.11-venv" in done.stdout


def test_a_python_without_venv_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    python.chmod(0o755)
    done = make("python", f"PYTHON={python}")
    assert done.returncode == 2 and "This Python has no venv. Debian and Ubuntu: apt install python3-venv" in done.stdout


def test_a_missing_make_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/bash", str(ROOT / ".ci" / "run")], capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 2 and "make is missing. Debian and Ubuntu: apt install make" in done.stderr


def test_another_torch_index_reaches_pip_and_nothing_else() -> None:
    planned = make("-n", "setup", "TORCH_INDEX=file:///wheels").stdout
    assert "--no-deps --force-reinstall --index-url file:///wheels torch==2.13.0" in planned
    assert planned.count("--index-url") == 1
    assert "--index-url" not in make("-n", "-B", "setup").stdout
