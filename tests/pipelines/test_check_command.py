"""`tsforecast check`: whatever a file holds is reported, and the exit code says ok, repaired or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tsforecast import cli

Call = Callable[..., tuple[int, str, str]]
DAYS = pd.date_range("2024-01-01", periods=60).astype(str)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["check", *map(str, arguments)])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run


def sold(**changes: object) -> pd.DataFrame:
    """Two shops that sell between 10 and 16 a day, by weekday."""
    rows = {"unique_id": ["a"] * 60 + ["b"] * 60, "ds": [*DAYS, *DAYS], "y": [10.0 + i % 7 for i in range(120)]}
    return pd.DataFrame(rows | changes)


def write(frame: pd.DataFrame, folder: Path, name: str = "sold.csv") -> Path:
    path = folder / name
    frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
    return path


def recipe(data: Path, repairs: str) -> Path:
    path = data.with_name("recipe.toml")
    source = f'[source]\nkind = "csv"\npath = "{data.name}"\n'
    path.write_text(f'name = "sold"\n{source}[forecast]\nhorizon = 7\n[[models]]\nname = "seasonal_naive"\n{repairs}')
    return path


@pytest.mark.parametrize("name", ["sold.csv", "sold.parquet"])
def test_a_file_in_order_is_ok(call: Call, tmp_path: Path, name: str) -> None:
    code, out, err = call(write(sold(), tmp_path, name))
    assert (code, err) == (0, "")
    assert "2 series, 120 steps of D" in out and "nothing found" in out


def test_a_file_that_makes_no_panel_is_refused_after_all_of_it_was_reported(call: Call, tmp_path: Path) -> None:
    frame = sold(y=["10", "eleven", *map(str, range(118))]).drop(index=5)
    frame.loc[7, "ds"] = "soon"
    code, out, err = call(write(frame, tmp_path))
    assert code == 1
    assert "error: text among the numbers" in out and "eleven" in out
    assert "error: timestamps that cannot be read" in out and "soon" in out
    assert err.startswith("tsforecast: ") and err.count("\n") == 1


def test_what_the_recipe_repairs_is_counted_and_the_code_says_repaired(call: Call, tmp_path: Path) -> None:
    frame = pd.concat([sold().drop(index=[5, 6]), sold().iloc[[30]].assign(y=12.5)])
    data = write(frame, tmp_path)
    assert call(recipe(data, ""))[0] == 1
    steps = '[[repairs]]\nname = "duplicates"\nkeep = "last"\n[[repairs]]\nname = "clock"\nfreq = "D"\n'
    code, out, err = call(recipe(data, steps))
    assert (code, err) == (6, "")
    assert "error: missing steps" in out and "error: timestamps with several values" in out
    assert "repaired: duplicates 1, clock 2" in out
    assert "recipe.toml is in order: 2 series, 120 steps of D" in out


def test_findings_are_one_json_object(call: Call, tmp_path: Path) -> None:
    code, out, _ = call(write(sold().drop(index=5), tmp_path), "--json")
    report = json.loads(out)
    assert (code, report["verdict"]) == (1, "refused")
    assert [one["kind"] for one in report["findings"]] == ["gaps"]
    assert report["findings"][0]["series_id"] == "a" and "panel" not in report
    _, out, _ = call(write(sold(), tmp_path), "--json")
    assert json.loads(out)["panel"]["rows"] == 120


def test_a_page_is_written_beside_the_answer(call: Call, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, _ = call(write(sold().drop(index=5), tmp_path), "--html", page)
    assert code == 1 and "missing steps" in out
    assert page.read_text().startswith("<!doctype html>") and "missing steps" in page.read_text()


def test_most_bounds_what_is_printed(call: Call, tmp_path: Path) -> None:
    many = pd.concat([sold().assign(unique_id=f"s{i}").iloc[:60].drop(index=5) for i in range(9)])
    data = write(many, tmp_path)
    few, all_of_them = call(data, "--most", 2)[1], call(data)[1]
    assert "… and " in few and "… and " not in all_of_them
    assert few.count("lacks") < all_of_them.count("lacks")


def test_a_calendar_of_events_that_ends_too_early_is_refused(call: Call, tmp_path: Path) -> None:
    pd.DataFrame({"date": ["2024-01-10", "2024-03-02"], "name": "fair"}).to_csv(tmp_path / "events.csv", index=False)
    feature = '[[models]]\nname = "linear"\n[[features]]\nname = "events"\npath = "events.csv"\n'
    data = write(sold(), tmp_path)
    code, _, err = call(recipe(data, feature))
    assert code == 1
    assert "2024-03-0" in err and "events" in err
    assert call(recipe(data, feature + 'until = "2024-03-31"\n'))[0] == 0
