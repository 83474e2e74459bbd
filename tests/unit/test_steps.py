"""What a recipe can name, as a person finds it."""

from pathlib import Path

import pytest

from tsforecast import cli, steps
from tsforecast.preprocessing.repair_rows import Numbers, ToSteps

PAGE = Path(__file__).parents[2] / "docs" / "steps.md"


@pytest.mark.parametrize("table", steps.TABLES)
def test_every_kind_and_option_is_listed(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["steps", table]) == 0
    text = capsys.readouterr().out
    for name, kind in steps.TABLES[table].items():
        assert f"\n  {name}: {steps.summary_of(kind)}\n" in text + "\n"
        assert len(steps.summary_of(kind)) > 10
        for option in steps.options_of(kind):
            assert f"\n      {option}" in text


def test_an_option_says_its_default_and_its_meaning() -> None:
    assert steps.options_of(Numbers)["decimal"] == ('"."', "")
    assert steps.options_of(ToSteps)["how"] == ('"mean"', "sum | mean | median | min | max | first | last")
    assert steps.options_of(ToSteps)["freq"][0] == ""  # must be given


def test_the_page_is_what_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "steps.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert cli.main(["steps", "--write", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}: as it was\n", "the steps have changed: tsforecast steps --write docs/steps.md"
