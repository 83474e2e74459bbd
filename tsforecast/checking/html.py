"""DataReport -> one HTML page for a person: no script, nothing loaded from elsewhere, every text escaped."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from tsforecast.checking.report import DataReport, Finding, SeriesReport

MOST_ROWS = 25  # findings of one kind that are written out
MOST_CARDS = 100  # series with a picture
LONGEST = 60  # letters of an id that are shown; the whole of it is in its title
WIDTH, HEIGHT, EDGE = 320, 72, 4  # px of a picture

VERDICTS = {
    "ok": "Ready: a panel can be made of these data as they are",
    "repaired": "Repaired: a panel is made with the repairs of the recipe",
    "refused": "Refused: these data cannot be used as they are",
}
SIGNS = {"error": "✕ error", "warning": "! warning", "info": "i info"}  # words beside the colour
WORDS = {"error": "error", "warning": "warning", "info": "remark"}
FACTS = {  # key of the report -> what a person calls it, in this order; other keys follow as they are
    "series": "Series",
    "rows": "Rows",
    "observed": "Observed values",
    "not_observed": "Not observed",
    "freq": "Frequency",
    "freq_share": "Steps that agree with it",
    "season": "Season, steps",
    "seasons": "Seasons found, steps",
    "first": "First",
    "last": "Last",
    "tz": "Time zone",
    "shortest": "Shortest series, rows",
    "longest": "Longest series, rows",
    "columns": "Columns",
}

STYLE = """
:root { color-scheme: light dark; --ink:#1c2128; --soft:#57606a; --ground:#ffffff; --card:#f6f8fa; --line:#d0d7de;
  --error:#b3261e; --warning:#8a5300; --info:#0b5cad; --ok:#146c2e; --curve:#0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6edf3; --soft:#9da7b3; --ground:#0f1419; --card:#171d25; --line:#303a46;
  --error:#ff8a80; --warning:#f0b35a; --info:#79b8ff; --ok:#6fd08c; --curve:#79b8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.verdict { border-left: .4rem solid var(--tone); background: var(--card); padding: .75rem 1rem; border-radius: .25rem; }
.verdict strong { color: var(--tone); }
.ok { --tone: var(--ok); } .repaired, .warning { --tone: var(--warning); } .refused, .error { --tone: var(--error); }
.info { --tone: var(--info); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: .25rem 1.5rem; margin: 0; }
dl div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid var(--line); padding: .2rem 0; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.sign { color: var(--tone); font-weight: 600; white-space: nowrap; }
details { border: 1px solid var(--line); border-radius: .25rem; margin: .5rem 0; background: var(--card); }
summary { cursor: pointer; padding: .5rem .75rem; display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
summary .title { font-weight: 600; flex: 1 1 12rem; }
.body { padding: 0 .75rem .75rem; }
.remedy, .more, .where { color: var(--soft); }
ul { margin: .25rem 0; padding-left: 1.25rem; } li { overflow-wrap: anywhere; margin: .15rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: .25rem; padding: .75rem; background: var(--card); min-width: 0; }
.card p { margin: .1rem 0; font-size: .875rem; color: var(--soft); overflow-wrap: anywhere; }
.card .sign { white-space: normal; }
svg { display: block; width: 100%; height: auto; margin: .4rem 0; }
.curve { fill: none; stroke: var(--curve); stroke-width: 1.3; vector-effect: non-scaling-stroke; }
.dot { fill: var(--curve); } .mark { stroke: var(--error); stroke-width: 1.2; opacity: .6; } .flag { fill: var(--error); }
@media print { details { break-inside: avoid; } .card { break-inside: avoid; } body { max-width: none; } }
"""


def html_of(report: DataReport, *, title: str) -> str:
    """The whole page; at most MOST_CARDS series and MOST_ROWS findings of a kind are written out, and it says of how many."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)} – data report</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *_verdict(report),
        "<h2>What is there</h2>",
        *_facts(report.facts),
        *_repairs(report.repairs),
        "<h2>What was found</h2>",
        *_findings(report),
        *_cards(report.series),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _verdict(report: DataReport) -> Iterator[str]:
    counts = report.counts()
    told = ", ".join(_counted(count, WORDS[sign]) for sign, count in counts.items() if count)
    yield f'<div class="verdict {report.verdict}" role="status"><strong>{escape(VERDICTS[report.verdict])}</strong>'
    yield f"<div>{escape(told) if told else 'Nothing was found.'}</div>"
    if report.refusal:
        yield f"<div>{escape(report.refusal)}</div>"
    yield "</div>"


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "<dl>"
    for name in [*(name for name in FACTS if name in facts), *(name for name in facts if name not in FACTS)]:
        value = facts[name]
        if value is not None and value != [] and value != ():
            yield f"<div><dt>{escape(FACTS.get(name, name))}</dt><dd>{escape(_shown(name, value))}</dd></div>"
    yield "</dl>"


def _shown(name: str, value: Any) -> str:
    if name == "freq_share":
        return f"{value:.1%}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"{value:,}"


def _repairs(repairs: Mapping[str, int]) -> Iterator[str]:
    if repairs:
        yield "<h2>What was repaired</h2><dl>"
        for step, rows in repairs.items():
            yield f"<div><dt>{escape(step)}</dt><dd>{_counted(rows, 'row')}</dd></div>"
        yield "</dl>"


def _findings(report: DataReport) -> Iterator[str]:
    kinds = report.by_kind()
    if not kinds:
        yield "<p>Nothing: timestamps, values and columns are as a model needs them.</p>"
    for found in kinds.values():
        first = found[0]
        series = len({one.series_id for one in found if one.series_id is not None})
        extent = _counted(sum(one.count for one in found), "place") + (f" in {series} series" if series else "")
        opened = "" if first.severity == "info" else " open"
        yield f'<details class="{first.severity}"{opened}><summary><span class="sign">{SIGNS[first.severity]}</span>'
        yield f'<span class="title">{escape(first.title)}</span><span class="more">{extent}</span></summary><div class="body">'
        yield f'<p class="remedy">What to do: {escape(first.remedy)}</p><ul>'
        for one in found[:MOST_ROWS]:
            yield f"<li>{escape(one.message)}{_where(one)}</li>"
        yield "</ul>"
        if len(found) > MOST_ROWS:
            yield f'<p class="more">… and {len(found) - MOST_ROWS} more findings of this kind; the JSON report has them all.</p>'
        yield "</div></details>"


def _where(finding: Finding) -> str:
    if not finding.where or finding.where[0] in finding.message:
        return ""
    more = f" … ({finding.count} in all)" if finding.count > len(finding.where) else ""
    return f' <span class="where">at {escape(", ".join(finding.where))}{more}</span>'


def _cards(series: tuple[SeriesReport, ...]) -> Iterator[str]:
    if not series:
        return
    shown = series[:MOST_CARDS]
    yield f'<h2>Series, those with most findings first ({len(shown)} shown)</h2><div class="cards">'
    for one in shown:
        yield '<section class="card">'
        yield f'<h3 title="{escape(one.series_id)}">{escape(_cut(one.series_id))}</h3>'
        yield f"<p>{_counted(one.rows, 'row')}, {escape(one.first)} to {escape(one.last)}, {one.not_observed:,} not observed</p>"
        yield picture(one)
        titles = {finding.title: finding for finding in one.findings}
        for title, finding in titles.items():
            yield f'<p class="{finding.severity}"><span class="sign">{SIGNS[finding.severity]}</span> {escape(title)}</p>'
        yield "</section>"
    yield "</div>"


def picture(series: SeriesReport) -> str:
    """The curve of a series as SVG, broken where values are missing, with a line at each place something was found."""
    seen = [value for value in series.curve if value is not None]
    name = f"{_cut(series.series_id)}: {'no value' if not seen else f'from {min(seen):.6g} to {max(seen):.6g}'}"
    name += f", {_counted(len(series.marks), 'place')} marked" if series.marks else ""
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}"><title>{escape(name)}</title>']
    parts += [_mark(place) for place in series.marks]
    if seen:
        parts += _strokes(series.curve, min(seen), max(seen))
    return "".join([*parts, "</svg>"])


def _mark(place: float) -> str:
    x = EDGE + place * (WIDTH - 2 * EDGE)
    flag = f'<polygon class="flag" points="{x - 4:.1f},{HEIGHT} {x + 4:.1f},{HEIGHT} {x:.1f},{HEIGHT - 7}"/>'
    return f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>{flag}'


def _strokes(curve: tuple[float | None, ...], low: float, high: float) -> list[str]:
    """Lines through neighbouring values, and a dot for a value without a neighbour."""
    across = (WIDTH - 2 * EDGE) / max(len(curve) - 1, 1)
    half = high / 2 - low / 2  # halves: the span of two large numbers of opposite sign has no float
    drawn: list[str] = []
    stroke: list[str] = []
    for i, value in enumerate([*curve, None]):
        if value is not None:
            up = (value / 2 - low / 2) / half if half > 0 else 0.5
            stroke.append(f"{EDGE + i * across:.1f},{HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE):.1f}")
        elif len(stroke) == 1:
            x, y = stroke[0].split(",")
            drawn.append(f'<circle class="dot" cx="{x}" cy="{y}" r="1.6"/>')
            stroke = []
        elif stroke:
            drawn.append(f'<polyline class="curve" points="{" ".join(stroke)}"/>')
            stroke = []
    return drawn


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
