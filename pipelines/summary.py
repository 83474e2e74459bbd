"""A run folder -> what a person, or a program, wants to know of the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.feedback import contradictory_line, unused_line
from pipelines.files import read_json
from pipelines.jobs import jobs_of
from pipelines.panels import panel_line, repaired_line, warnings_of
from pipelines.recipe_detect import DetectRecipe
from pipelines.workspace import CHAMPION, CONTRADICTORY, LEADERBOARD, UNUSED, Workspace

COLUMNS = ("mase", "wql", "coverage_80", "seconds")  # of the printed leaderboard, beside the metric that decides
SHOWN_SKIPPED = 3
SHOWN_SCORES = ("alarms_per_1000", "vus_pr", "auc_pr", "event_precision", "event_recall", "false_alarms_per_1000")
SHOWN_EVENTS = 10


def summary_of(work: Workspace) -> dict[str, Any]:
    """JSON values: recipe, as_of, folder, panel, failed, tracking, seconds; of a forecast also metric, leaderboard, champion and
    forecast, of a detection `detections` (what each model said of itself), `events` (of the first model), `unused_feedback` and
    `contradictory_feedback`.

    A part whose job has not run is None.
    """
    markers = {name: read_json(work.marker(name)) for name in jobs_of(work.file.recipe)}
    facts = {name: marker["facts"] if marker else None for name, marker in markers.items()}
    own: dict[str, Any] = {"leaderboard": None, "champion": None, "forecast": None}
    if isinstance(work.file.recipe, DetectRecipe):
        first = work.file.recipe.models[0].label
        own |= {
            "detections": _in_order(work.file.recipe, facts["detect"]),
            "events": read_json(work.path(f"events/{first}.json")),
            "unused_feedback": read_json(work.path(UNUSED)),
            "contradictory_feedback": read_json(work.path(CONTRADICTORY)),
        }
    else:
        own |= {
            "metric": work.recipe.backtest.metric,
            "leaderboard": read_json(work.path(LEADERBOARD)) if markers["backtest"] else None,
            "champion": read_json(work.path(CHAMPION)) if markers["promote"] else None,
            "forecast": facts["forecast"],
        }
    return {
        "recipe": work.name,
        "as_of": work.as_of,
        "folder": str(work.folder),
        "panel": facts["prepare"],
        **own,
        "failed": {name: marker["failed"] for name, marker in markers.items() if marker and marker["failed"]},
        "tracking": tracking_of(work),
        "seconds": {name: marker["seconds"] for name, marker in markers.items() if marker},
    }


def _in_order(recipe: DetectRecipe, facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Facts by label, in the order of the recipe's models."""
    return None if facts is None else {one.label: facts[one.label] for one in recipe.models if one.label in facts}


def tracking_of(work: Workspace) -> dict[str, str] | None:
    """Where the run is tracked, without passwords; None where it is not."""
    if work.tracker is None:
        return None
    experiment = work.file.recipe.tracking.experiment or work.name
    return {"address": work.tracker.store.address, "experiment": experiment}


def exit_code(summary: Mapping[str, Any], *, fail_on_event: bool = False) -> int:
    """0 done, 3 a model failed, 4 promotion refused, 7 there are events, if that is asked for; see `pipelines/__main__.py`."""
    if summary["failed"]:
        return 3
    if fail_on_event and any(is_news(event) for event in summary.get("events") or ()):
        return 7
    return 4 if summary["champion"] and summary["champion"]["outcome"] == "refused" else 0


def is_news(event: Mapping[str, Any]) -> bool:
    """Whether somebody should be told of an event: nobody has said that it is a false alarm."""
    return bool(event.get("feedback") != "false alarm")


def to_text(summary: Mapping[str, Any]) -> str:
    """The summary for a person."""
    lines = [f"{summary['recipe']} as of {summary['as_of']}"]
    if summary["panel"]:
        lines.append(f"  panel      {panel_line(summary['panel'])}")
        if summary["panel"].get("repaired"):
            lines.append(f"  repaired   {repaired_line(summary['panel']['repaired'])}")
        lines += [f"  WARNING    {words}" for words in warnings_of(summary["panel"])]
    lines += [f"  WARNING    {words}" for words in _warnings_of_detection(summary)]
    if summary["leaderboard"]:
        lines += ["", *_table(summary), ""]
    for job, failed in summary["failed"].items():
        lines += [f"  FAILED     {job} {label}: {why}" for label, why in failed.items()]
    champion = summary["champion"]
    if champion:
        lines.append(f"  champion   {_champion(champion)}")
    if summary.get("detections"):
        lines += _detections(summary)
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


def _warnings_of_detection(summary: Mapping[str, Any]) -> list[str]:
    """Feedback that does not count, and new rows that say nothing: a feed that has died makes no events."""
    found = [unused_line(summary["unused_feedback"])] if summary.get("unused_feedback") else []
    if summary.get("contradictory_feedback"):
        found.append(contradictory_line(summary["contradictory_feedback"]))
    for label, facts in (summary.get("detections") or {}).items():
        if not facts["rows"]:
            found.append(f"{label}: there are no new rows since the run before; check that the source is still fed")
        elif facts.get("observed") == 0:  # runs of older releases do not say
            found.append(f"{label}: none of the {facts['rows']} new rows has a value; check that the source is still fed")
    return found


def _detections(summary: Mapping[str, Any]) -> list[str]:
    """One line for each model, then the events of the first."""
    lines = []
    for label, facts in summary["detections"].items():  # in the order of the recipe
        said = facts["scores"] or {}
        shown = [f"{name} {said[name]:.3g}" for name in SHOWN_SCORES if said.get(name) is not None]
        told = ", ".join([f"{facts['rows']} new rows", f"{facts['events']} events", *shown])
        lines.append(f"  detector   {label} {facts['how']} ({facts['why']}): {told}")
    events = summary["events"] or []
    lines += [f"  EVENT      {event_line(event)}" for event in events[:SHOWN_EVENTS]]
    if len(events) > SHOWN_EVENTS:
        lines.append(f"             and {len(events) - SHOWN_EVENTS} more in events/")
    return lines


def event_line(event: Mapping[str, Any]) -> str:
    """An event for a person."""
    until = f"{event['start']} to {event['end']}{', open' if event['open'] else ''}"
    channels = (
        ", ".join(f"{one['name']} {one['share']:.0%}" for one in event["channels"][:3]) if len(event["channels"]) > 1 else ""
    )
    said = f", said to be a {event['feedback']}" if event.get("feedback") else ""
    return (
        f"{event['series_id']}: {event['kind']}, severity {event['severity']:.0f}, {until}{channels and f' ({channels})'}{said}"
    )


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
