"""Runs of an experiment -> one table, best first."""

import json
from typing import TYPE_CHECKING, Any

from tsforecast.errors import OptionError, TrackingError
from tsforecast.tracking.registry import pages
from tsforecast.tracking.store import Store

if TYPE_CHECKING:
    import pandas as pd

HIGHER_IS_BETTER = ("vus_pr", "auc_pr", "event_precision", "event_recall", "event_f1")  # scores of detectors; of others, lower


def leaderboard(store: Store, experiment: str, *, metric: str) -> "pd.DataFrame":
    """As `Tracker.leaderboard`."""
    import pandas as pd

    with store.asking(f"read the runs of {experiment!r}"):
        found = store.client.get_experiment_by_name(experiment)
        if found is None:
            known = sorted(one.name for one in pages(store.client.search_experiments))
            raise TrackingError(f"no experiment {experiment!r}; there are {', '.join(known)}")
        runs = pages(
            store.client.search_runs,
            experiment_ids=[found.experiment_id],
            filter_string="attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
        )
    newest: dict[str, Any] = {}
    for run in runs:
        if "scores" in run.data.tags:
            newest.setdefault(run.info.run_name, run)
    rows = [_row(run) for run in newest.values()]
    if not rows:
        return pd.DataFrame(columns=["run", "model", "seconds", "version", "run_id"])
    table = pd.DataFrame(rows)
    if metric not in table.columns:
        raise OptionError(f"no run of {experiment!r} has a score {metric!r}", field="metric")
    last = ["seconds", "version", "run_id"]
    ordered = table[[column for column in table.columns if column not in last] + last]
    rising = metric not in HIGHER_IS_BETTER
    return ordered.sort_values(metric, ascending=rising, na_position="last", kind="stable", ignore_index=True)


def _row(run: Any) -> dict[str, Any]:
    scores = json.loads(run.data.tags["scores"])
    return {
        "run": run.info.run_name,
        "model": run.data.params.get("model", ""),
        **{name: float("nan") if score is None else score for name, score in scores.items()},
        "seconds": run.data.metrics.get("seconds", float("nan")),
        "version": run.data.tags.get("version", ""),
        "run_id": run.info.run_id,
    }
