"""What is said of a model is what its code says, and what is not there is named."""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tsforecast.errors import UnknownModel
from tsforecast.models import describe as module
from tsforecast.models.describe import describe, describe_all, field_words, markdown_of_parameters, needs
from tsforecast.models.registry import MODELS, available_models

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", available_models())
def test_every_parameter_of_every_model_says_what_it_means(name: str) -> None:
    found = describe(name)
    silent = [parameter for parameter, one in found.parameters.items() if not one.words]
    assert not silent, f"{name}: say meaning and unit of {silent} in a comment behind the field"
    assert found.name == name and found.words and "(" not in found.words.split()[0], f"{name}: its class has no docstring"


@dataclass
class Above:
    first: int = 1  # steps
    second: int = 2  # of "#", a sign
    third: tuple[str, ...] = (  # several
        "a",  # lines
    )
    fourth: int = 4
    # a comment of its own is not that of a field
    fifth: int = 5  # type: ignore[assignment]  # for tools


@dataclass
class Below(Above):
    first: int = 10
    second: int = 20  # of another thing
    choice: Literal["a", "b"] = "a"  # which


def test_words_are_the_comment_behind_the_field_or_that_of_the_class_above() -> None:
    assert field_words(Above) == {"first": "steps", "second": 'of "#", a sign', "third": "several lines"}
    assert field_words(Below) == field_words(Above) | {"second": "of another thing", "choice": "which"}


def test_without_its_source_a_class_has_no_words_and_no_error() -> None:
    made = type("Made", (), {"__annotations__": {"a": int}, "a": 1})
    assert field_words(made) == {}


def test_a_package_that_a_model_would_import_only_later_is_missed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_oracle.py").write_text(
        "raise RuntimeError('must not run')\ndef fit():\n    import delphi.temple\n"
        "    try:\n        import dodona\n    except ImportError:\n        pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODELS["forecast"], "oracle", "lazy_oracle:Oracle")
    found, missing = describe_all()
    assert list(missing) == ["oracle"] and needs(missing["oracle"]) == "needs package delphi"
    assert [one.name for one in found] == [name for name in available_models() if name != "oracle"]
    (tmp_path / "lazy_oracle.py").write_text("from tsforecast.models.registry import nothing\n")
    module._packages.cache_clear()
    assert needs(describe_all(["oracle"])[1]["oracle"]).startswith("cannot be imported: cannot import name 'nothing'")


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownModel, match=r"no model 'grru'; available: .*seasonal_naive"):
        describe("grru")


def test_a_parameter_that_models_share_is_told_once() -> None:
    table = markdown_of_parameters([describe("gru"), describe("lstm"), describe("seasonal_naive")])
    [row] = [line for line in table.splitlines() if line.startswith("| `hidden`")]
    assert row == "| `hidden` | `128` | int | width of the core | gru, lstm |"
    assert "int \\| None" in table  # a bar would end the cell


def test_describing_a_model_without_a_network_loads_no_torch() -> None:
    assert importlib.util.find_spec("torch")
    code = "import sys; from tsforecast.models.describe import describe; describe('seasonal_naive'); describe('prophet'); "
    code += "print([name for name in ('torch', 'prophet', 'pandas', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
