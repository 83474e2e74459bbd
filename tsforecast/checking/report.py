"""Findings -> the report of a check: what was found, in which series, how bad it is, as text and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
Verdict = Literal["ok", "repaired", "refused"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")  # worst first


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What can be wrong with data."""

    severity: Severity  # error: no panel can be made of it as it is; warning: a forecast will suffer; info: worth knowing
    title: str  # a few words
    remedy: str  # what to do about it


def _error(title: str, remedy: str) -> Kind:
    return Kind(severity="error", title=title, remedy=remedy)


def _warning(title: str, remedy: str) -> Kind:
    return Kind(severity="warning", title=title, remedy=remedy)


def _info(title: str, remedy: str) -> Kind:
    return Kind(severity="info", title=title, remedy=remedy)


KINDS: dict[str, Kind] = {
    # rows that cannot be read
    "no_rows": _error("no rows", "look where the frame comes from: a filter or a join may have emptied it"),
    "missing_ids": _error("rows without an id", "name their series, or drop them (repair: drop_missing_keys)"),
    "ids_clash": _error("ids that read the same", "make ids texts before they are joined, so that 1 and '1' are one"),
    "missing_timestamps": _error("rows without a timestamp", "fill the timestamp, or drop them (repair: drop_missing_keys)"),
    "bad_timestamps": _error("timestamps that cannot be read", "write ISO 8601, such as 2024-01-31T06:00:00"),
    "zones_mixed": _error("time zones mixed", "give each series one zone: tz_localize what is naive, tz_convert the others"),
    "text": _error("text among the numbers", "make them numbers, and what is none NaN (repair: numbers)"),
    "not_numbers": _error("a column that holds no numbers", "convert it, as in pd.to_numeric(column, errors='coerce')"),
    "infinities": _error("infinite values", "write NaN for what is not known (repair: infinities)"),
    # the clock
    "conflicting_duplicates": _error(
        "timestamps with several values", "find out which value holds, then keep or merge (repair: duplicates)"
    ),
    "duplicates": _error("timestamps more than once, with one value", "keep one row each (repair: duplicates)"),
    "frequency_unknown": _error("frequency cannot be told", "pass freq, such as freq='h'"),
    "frequency_mixed": _error("series of different frequencies", "make a panel of each, or resample to one (repair: resample)"),
    "off_clock": _error("timestamps off the clock", "snap them to it (repair: clock), or resample (repair: resample)"),
    "gaps": _error("missing steps", "add them as not observed: missing_steps='insert' (repair: clock), then fill if need be"),
    "refused": _error("no panel can be made", "do as the message says"),
    # values
    "missing_runs": _warning("long stretches not observed", "look for the cause; fill short ones only (repair: fill)"),
    "no_values": _warning("series without any value", "leave the series out (repair: min_length)"),
    "all_zero": _warning("series of zeros only", "leave it out, or find out why nothing was counted"),
    "constant": _warning("constant series", "make sure that it is measured, not a default that was filled in"),
    "zero_stretch": _warning("zeros for long where there are none otherwise", "if nothing was measured, make them NaN"),
    "stuck": _warning("one value repeated for unusually long", "a stuck sensor or a filled gap: make the stretch NaN"),
    "unit_jump": _warning("a stretch in another unit", "divide it back (repair: unit_jumps)"),
    "level_shift": _warning("lasting shift of the level", "if the past no longer tells of the future, start after it"),
    "outliers": _warning("outliers", "if they are mistakes, clip, replace or mask them (repair: outliers)"),
    "negative": _warning("negative values among counts", "returns or mistakes? make them zero or NaN (repair: non_negative)"),
    "fractions": _warning("fractions among counts", "look for sums that were divided, or for another unit"),
    # length and ends
    "short": _warning("short series", "get more history, or leave the series to a model of all series (repair: min_length)"),
    "dead": _warning("series that ended long ago", "leave it out: a forecast would follow its own last row, not today"),
    "leading_zeros": _warning("zeros before the first value", "if it did not exist yet, cut them (repair: trim)"),
    "dead_tail": _warning("zeros at the end for unusually long", "if it is gone, leave it out; otherwise cut (repair: trim)"),
    # zones
    "daylight_saving": _error("local time with daylight saving", "localize it: tz='Europe/Berlin' or alike (repair: localize)"),
    # covariates
    "covariate_missing": _warning("covariates missing in the history", "fill the column; models take no NaN there"),
    "future_missing": _warning("future rows without covariates", "send every covariate for every step of the horizon"),
    "leak": _warning("covariate that leaks the target", "leave it out, or pass it as past covariate if known later only"),
    "unseen_category": _warning("categories unseen before", "map them to a known one, or train again with them"),
    # series beside each other
    "twin_series": _warning("series with the same values", "keep one of them, or correct the join that doubled them"),
    "similar_ids": _warning("ids that differ in case or spaces only", "if they mean one series, write one id and merge them"),
    # worth knowing
    "out_of_order": _info("rows out of order", "nothing: they are sorted"),
    "missing_y": _info("values not observed", "nothing, where the model takes NaN; otherwise fill them (repair: fill)"),
    "late_start": _info("series that start late", "nothing, where the model takes series of different lengths"),
    "zones_differ": _info("series in different time zones", "nothing: each keeps its wall clock"),
    "covariate_constant": _info("covariate that never changes", "leave it out: it tells nothing"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found in one column of one series, or of the data as a whole."""

    kind: str  # a key of KINDS
    series_id: str | None  # None = the data as a whole
    field: str  # column
    count: int  # rows, steps or pairs concerned
    where: tuple[str, ...]  # first places (at most 5): timestamps on the wall clock of the data, or "row 3"
    message: str  # what, which, what was got

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def title(self) -> str:
        return KINDS[self.kind].title

    @property
    def remedy(self) -> str:
        return KINDS[self.kind].remedy

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "severity": self.severity, "title": self.title, "series_id": self.series_id,
            "field": self.field, "count": self.count, "where": list(self.where), "message": self.message,
            "remedy": self.remedy,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesReport:
    """One series, and what was found in it."""

    series_id: str
    rows: int
    first: str  # timestamp on the wall clock of the data; "" where none can be read
    last: str
    not_observed: int  # rows without a number
    findings: tuple[Finding, ...]
    curve: tuple[float | None, ...]  # at most 240 values, thinned evenly, extremes kept; None = not observed
    marks: tuple[float, ...]  # places 0-1 along the curve where findings lie, at most 40

    def to_json(self) -> dict[str, Any]:
        return {
            "series_id": self.series_id, "rows": self.rows, "first": self.first, "last": self.last,
            "not_observed": self.not_observed, "findings": [finding.to_json() for finding in self.findings],
            "curve": list(self.curve), "marks": list(self.marks),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """All that a check found."""

    facts: Mapping[str, Any]  # JSON values: rows, series, freq, freq_share (0-1), season, seasons, first, last, tz, columns, …
    findings: tuple[Finding, ...]  # errors first, then by kind, then by series
    series: tuple[SeriesReport, ...]  # with findings, worst first, at most 100; then quiet ones up to 12 in all
    repairs: Mapping[str, int]  # step -> changed rows, where a recipe repaired
    refusal: str | None  # why no panel can be made, even after repairs; None = one can

    @property
    def verdict(self) -> Verdict:
        if self.refusal is not None:
            return "refused"
        return "repaired" if self.repairs else "ok"

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind, worst kind first."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.kind, []).append(finding)
        return groups

    def counts(self) -> dict[Severity, int]:
        """Findings of each severity."""
        return {severity: sum(finding.severity == severity for finding in self.findings) for severity in SEVERITIES}

    def to_json(self) -> dict[str, Any]:
        """Lists, texts and finite numbers only."""
        return {
            "verdict": self.verdict,
            "refusal": self.refusal,
            "facts": dict(self.facts),
            "counts": dict(self.counts()),
            "findings": [finding.to_json() for finding in self.findings],
            "series": [one.to_json() for one in self.series],
            "repairs": dict(self.repairs),
        }

    def to_text(self, *, most: int = 30) -> str:
        """Lines for a terminal: facts, then each kind with its findings, `most` of them in all and one of each kind at least."""
        lines = [_facts_line(self.facts)]
        groups = self.by_kind()
        if groups:
            found = ", ".join(_counted(n, severity) for severity, n in self.counts().items() if n)
            lines.append(f"found: {found}")
        else:
            lines.append("nothing found")
        left = max(most - len(groups), 0)
        for kind, findings in groups.items():
            shown = 1 + min(len(findings) - 1, left)
            left -= shown - 1
            total = f"{len(findings)} findings, {sum(one.count for one in findings)} places" if len(findings) > 1 else ""
            lines += ["", f"{KINDS[kind].severity}: {KINDS[kind].title}" + (f" ({total})" if total else "")]
            lines += [f"  - {finding.message}" for finding in findings[:shown]]
            if len(findings) > shown:
                lines.append(f"  - … and {len(findings) - shown} more")
            lines.append(f"  -> {KINDS[kind].remedy}")
        if self.repairs:
            lines += ["", "repaired: " + ", ".join(f"{step} {rows}" for step, rows in self.repairs.items())]
        if self.refusal is not None:
            lines += ["", f"refused: {self.refusal}"]
        return "\n".join(lines)


def _facts_line(facts: Mapping[str, Any]) -> str:
    """ "120 rows, 5 series, freq 'h' (100.0 % of steps), season 24, 2024-01-01 to 2024-01-05T23:00:00"."""
    parts = [_counted(int(facts.get("rows", 0)), "row"), f"{facts.get('series', 0)} series"]
    if facts.get("freq") is not None:
        share = facts.get("freq_share")
        parts.append(f"freq {facts['freq']!r}" + ("" if share is None else f" ({100 * share:.1f} % of steps)"))
        parts.append(f"season {facts.get('season')}")
    if facts.get("seasons"):
        parts.append("seasons seen: " + ", ".join(str(one) for one in facts["seasons"]))
    if facts.get("first"):
        parts.append(f"{facts['first']} to {facts['last']}" + (f" {facts['tz']}" if facts.get("tz") else ""))
    return ", ".join(parts)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 or word == "info" else f"{count} {word}s"
