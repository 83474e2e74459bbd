"""A run folder -> what a person, or a program, wants to know of the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.files import read_json
from pipelines.jobs import JOBS
from pipelines.panels import panel_line, repaired_line, warnings_of
from pipelines.workspace import CHAMPION, LEADERBOARD, Workspace

COLUMNS = ("mase", "wql", "coverage_80", "seconds")  # of the printed leaderboard, beside the metric that decides
SHOWN_SKIPPED = 3


def summary_of(work: Workspace) -> dict[str, Any]:
    """JSON values: recipe, as_of, folder, panel, metric, leaderboard, champion, forecast, failed, tracking, seconds.

    A part whose job has not run is None.
    """
    markers = {name: read_json(work.marker(name)) for name in JOBS}
    facts = {name: marker["facts"] if marker else None for name, marker in markers.items()}
    return {
        "recipe": work.recipe.name,
        "as_of": work.as_of,
        "folder": str(work.folder),
        "panel": facts["prepare"],
        "metric": work.recipe.backtest.metric,
        "leaderboard": read_json(work.path(LEADERBOARD)) if markers["backtest"] else None,
        "champion": read_json(work.path(CHAMPION)) if markers["promote"] else None,
        "forecast": facts["forecast"],
        "failed": {name: marker["failed"] for name, marker in markers.items() if marker and marker["failed"]},
        "tracking": tracking_of(work),
        "seconds": {name: marker["seconds"] for name, marker in markers.items() if marker},
    }


def tracking_of(work: Workspace) -> dict[str, str] | None:
    """Where the run is tracked, without passwords; None where it is not."""
    if work.tracker is None:
        return None
    experiment = work.recipe.tracking.experiment or work.recipe.name
    return {"address": work.tracker.store.address, "experiment": experiment}


def exit_code(summary: Mapping[str, Any]) -> int:
    """0 done, 3 a model failed, 4 promotion refused; see `pipelines/__main__.py`."""
    if summary["failed"]:
        return 3
    return 4 if summary["champion"] and summary["champion"]["outcome"] == "refused" else 0


def to_text(summary: Mapping[str, Any]) -> str:
    """The summary for a person."""
    lines = [f"{summary['recipe']} as of {summary['as_of']}"]
    if summary["panel"]:
        lines.append(f"  panel      {panel_line(summary['panel'])}")
        if summary["panel"].get("repaired"):
            lines.append(f"  repaired   {repaired_line(summary['panel']['repaired'])}")
        lines += [f"  WARNING    {words}" for words in warnings_of(summary["panel"])]
    if summary["leaderboard"]:
        lines += ["", *_table(summary), ""]
    for job, failed in summary["failed"].items():
        lines += [f"  FAILED     {job} {label}: {why}" for label, why in failed.items()]
    champion = summary["champion"]
    if champion:
        lines.append(f"  champion   {_champion(champion)}")
    forecast = summary["forecast"]
    if forecast:
        lines.append(f"  forecast   {forecast['series']} series, {forecast['horizon']} steps, written to")
        lines += [f"             {where}" for where in forecast["written"]]
        if forecast.get("fallbacks"):
            lines.append(f"  FALLBACK   {forecast['fallbacks']}")
    if summary["tracking"]:
        lines.append(f"  tracking   {summary['tracking']['address']}, experiment {summary['tracking']['experiment']}")
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in summary["seconds"].items())
    return "\n".join([*lines, f"  run        {summary['folder']} ({took})"])


def _champion(champion: Mapping[str, Any]) -> str:
    name = champion["model"] + (f" ({champion['reference']})" if champion["reference"] else "")
    words = {"promoted": f"{name} promoted", "kept": f"{name} stays champion", "refused": f"none, {name} forecasts"}
    return f"{words[champion['outcome']]}: {champion['reason']}"


def _table(summary: Mapping[str, Any]) -> list[str]:
    """The leaderboard, aligned, and below it what a model started from and the series that its backtest left out."""
    columns = [summary["metric"], *(name for name in COLUMNS if name != summary["metric"])]
    rows = [["model", *columns]]
    rows += [[row["model"], *(_number(row.get(column)) for column in columns)] for row in summary["leaderboard"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(_aligned(row, widths)).rstrip() for row in rows]
    for row in summary["leaderboard"]:
        if row.get("start_from"):
            lines.append(f"  {row['model']} was tuned from {row['start_from']}")
        for words, notes in (("was not scored on", row["skipped"]), ("was scored by a fallback on", row.get("fallbacks"))):
            if notes:
                more = f" and {len(notes) - SHOWN_SKIPPED} more" if len(notes) > SHOWN_SKIPPED else ""
                lines.append(f"  {row['model']} {words} {'; '.join(notes[:SHOWN_SKIPPED])}{more}")
    return lines


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
