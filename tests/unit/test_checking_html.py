"""The page of a data report: what a person sees, and that no text of the data becomes markup."""

import re
from html.parser import HTMLParser

import pytest

from tsforecast.checking.html import HEIGHT, MOST_CARDS, MOST_ROWS, WIDTH, html_of, picture
from tsforecast.checking.report import DataReport, Finding, SeriesReport

NASTY = '<script>alert("x")</script>\' & "quoted"'
FACTS = {"series": 2, "rows": 12345, "freq": "h", "freq_share": 0.9871, "season": 24, "seasons": [24, 168], "tz": None}


def finding(kind: str = "outliers", series_id: str | None = "a", **changes: object) -> Finding:
    values: dict[str, object] = {
        "field": "y",
        "count": 3,
        "where": ("2024-01-02", "2024-01-05"),
        "message": f"series {series_id!r}: m",
    }
    return Finding(kind=kind, series_id=series_id, **values | changes)  # type: ignore[arg-type]  # checked by the class in use


def series(series_id: str = "a", **changes: object) -> SeriesReport:
    values: dict[str, object] = {
        "rows": 4, "first": "2024-01-01", "last": "2024-01-04", "not_observed": 1, "findings": (),
        "curve": (1.0, 2.0, None, 3.0), "marks": (),
    }  # fmt: skip
    return SeriesReport(series_id=series_id, **values | changes)  # type: ignore[arg-type]  # as above


def report(**changes: object) -> DataReport:
    values: dict[str, object] = {"facts": FACTS, "findings": (), "series": (), "repairs": {}, "refusal": None}
    return DataReport(**values | changes)  # type: ignore[arg-type]  # as above


class Page(HTMLParser):
    """Tags that are open at the end, every tag seen, and the text."""

    VOID = ("meta", "line", "circle", "polyline", "polygon", "!doctype")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_text_of_the_data_becomes_markup() -> None:
    nasty = finding(series_id=NASTY, field=NASTY, where=(NASTY,), message=f"series {NASTY}: of {NASTY}")
    html = html_of(
        report(
            facts=FACTS | {NASTY: NASTY, "tz": NASTY, "columns": [NASTY]},
            findings=(nasty,),
            series=(series(NASTY, findings=(nasty,), first=NASTY),),
            repairs={NASTY: 1},
            refusal=NASTY,
        ),
        title=NASTY,
    )
    page = Page(html)
    assert not page.open
    assert "script" not in page.tags and "<script" not in html
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "div", "strong", "dl", "dt", "dd", "details",
        "summary", "span", "p", "ul", "li", "section", "svg", "line", "circle", "polyline", "polygon",
    }  # fmt: skip
    assert NASTY in page.text
    assert "://" not in html and "url(" not in html  # nothing is loaded from elsewhere


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Ready: a panel can be made of these data as they are"),
        ({"repairs": {"fill": 1200}}, "Repaired: a panel is made with the repairs of the recipe"),
        ({"refusal": "series 'a' lacks 1 step"}, "Refused: these data cannot be used as they are"),
    ],
)
def test_the_verdict_stands_first(changes: dict[str, object], words: str) -> None:
    text = Page(html_of(report(**changes), title="shop.csv")).text
    assert text.index("shop.csv") < text.index(words) < text.index("What is there")


def test_facts_findings_and_repairs_are_written_out() -> None:
    found = (finding("gaps", count=2), finding("outliers"), finding("outliers", "b", message="series 'b': n"))
    text = Page(html_of(report(findings=found, repairs={"fill": 1200}), title="t")).text
    assert "98.7%" in text and "12,345" in text and "24, 168" in text and "Time zone" not in text
    assert "1 error, 2 warnings" in text
    assert text.index("missing steps") < text.index("outliers")
    assert "6 places in 2 series" in text
    assert "fill1,200 rows" in text.replace("\n", "")
    assert "2024-01-02, 2024-01-05 … (3 in all)" in text


def test_a_place_that_the_message_names_is_not_said_again() -> None:
    text = Page(html_of(report(findings=(finding(where=("2024-01-02",), message="at 2024-01-02"),)), title="t")).text
    assert text.count("2024-01-02") == 1


def test_a_page_is_bounded_and_says_what_it_leaves_out() -> None:
    many = tuple(finding(series_id=f"s{i}", message=f"<{i}>") for i in range(MOST_ROWS + 5))
    html = html_of(report(findings=many, series=tuple(series(f"s{i}") for i in range(MOST_CARDS + 5))), title="t")
    assert "and 5 more findings of this kind" in html
    assert html.count("<svg") == MOST_CARDS
    assert f"&lt;{MOST_ROWS - 1}&gt;" in html and f"&lt;{MOST_ROWS}&gt;" not in html


def test_a_long_id_is_cut_and_whole_in_its_title() -> None:
    html = html_of(report(series=(series("x" * 200),)), title="t")
    assert f'title="{"x" * 200}"' in html and f">{'x' * 59}…</h3>" in html


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'class="curve" points="([^"]*)"', svg)
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())] for line in lines]


def test_a_curve_rises_with_its_values_and_breaks_where_they_are_missing() -> None:
    svg = picture(series(curve=(0.0, 10.0, None, 5.0, 5.0, None, 10.0), marks=(0.0, 1.0)))
    first, second = points(svg)
    assert first[0][1] == HEIGHT - 4 and first[1][1] == 4  # the lowest value at the bottom, the highest on top
    assert second[0][1] == second[1][1] == HEIGHT / 2
    assert svg.count("<circle") == 1 and f'cx="{WIDTH - 4:.1f}"' in svg  # a value without a neighbour
    assert 'x1="4.0"' in svg and f'x1="{WIDTH - 4:.1f}"' in svg
    assert 'aria-label="a: from 0 to 10, 2 places marked"' in svg


@pytest.mark.parametrize("curve", [(), (None, None), (3.0,), (3.0, 3.0), (-1.7e308, 1.7e308), (5e-324, 0.0)])
def test_every_curve_has_a_picture_inside_its_frame(curve: tuple[float | None, ...]) -> None:
    svg = picture(series(curve=curve))
    assert "nan" not in svg and "inf" not in svg.replace("info", "")
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in points(svg) for x, y in line)
