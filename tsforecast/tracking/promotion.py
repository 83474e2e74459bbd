"""Scores of a candidate, of seasonal naive and of the champion -> who is champion now, and why."""

import json
import math
from collections.abc import Mapping

from tsforecast.errors import NotBetter, OptionError
from tsforecast.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    aliases_of,
    drop_alias,
    note,
    resolve,
    set_alias,
)
from tsforecast.tracking.store import Store

ROUNDING = 1e-9  # relative: two scores nearer than this are one, computed in two ways
UNRANKED = ("bias", "coverage", "width")  # metrics of which less is not better, by the start of their names


def promote(store: Store, name: str, version: int, *, metric: str, baseline: Mapping[str, float], margin: float) -> ModelVersion:
    """As `Tracker.promote`."""
    candidate = resolve(store, f"{name}/{version}")
    check_rules(metric, margin)
    why = why_not_over_naive(candidate, metric=metric, baseline=baseline, margin=margin)
    if why:
        note(store, candidate, "promotion", f"refused: {why}")
        raise NotBetter(f"{candidate.reference} ({candidate.model}) is not promoted: {why}", field="version")
    aliases = aliases_of(store, name)
    if aliases.get(CHAMPION) == version:
        return candidate
    note(store, candidate, "baseline", json.dumps({metric: float(score) for metric, score in baseline.items()}))
    candidate = resolve(store, candidate.reference)
    champion = resolve(store, f"{name}@{CHAMPION}") if CHAMPION in aliases else None
    why = None if champion is None else why_not_over_champion(candidate, champion, metric=metric, margin=margin)
    if why:
        note(store, candidate, "promotion", f"challenger: {why}")
        set_alias(store, name, CHALLENGER, version)
        raise NotBetter(
            f"{candidate.reference} ({candidate.model}) is not promoted, it is the challenger now: {why}", field="version"
        )
    note(store, candidate, "promotion", f"champion: {metric} {_shown(candidate.scores[metric])}")
    if aliases.get(CHALLENGER) == version:
        drop_alias(store, name, CHALLENGER)
    if champion is not None:
        set_alias(store, name, PREVIOUS, champion.version)
    return set_alias(store, name, CHAMPION, version)


def rollback(store: Store, name: str) -> ModelVersion:
    """As `Tracker.rollback`."""
    now, before = resolve(store, f"{name}@{CHAMPION}"), resolve(store, f"{name}@{PREVIOUS}")
    set_alias(store, name, PREVIOUS, now.version)
    return set_alias(store, name, CHAMPION, before.version)


def check_rules(metric: str, margin: float) -> None:
    """Refuse a metric of which less is not better, and a margin outside [0, 1)."""
    if metric.startswith(UNRANKED):
        raise OptionError(f"less {metric} is not better; promote by an error such as mase, wql or owa", field="metric")
    if not 0 <= margin < 1:
        raise OptionError(f"margin is a share of the score to beat, in [0, 1), got {margin}", field="margin")


def why_not_over_naive(candidate: ModelVersion, *, metric: str, baseline: Mapping[str, float], margin: float) -> str | None:
    """Why `candidate` does not beat seasonal naive by `margin`, in words; None if it does."""
    score, naive = candidate.scores.get(metric, math.nan), baseline.get(metric, math.nan)
    if not math.isfinite(score):
        return f"it has no finite {metric} from a backtest (got {_shown(score)}); run a backtest and log it first"
    if not math.isfinite(naive):
        return f"the baseline has no finite {metric} (got {_shown(naive)}); backtest seasonal_naive on the same panel first"
    if score < naive * (1 - max(margin, ROUNDING)):
        return None
    return f"its {metric} {_shown(score)} does not beat seasonal naive's {_shown(naive)}{_by(margin)}"


def why_not_over_champion(candidate: ModelVersion, champion: ModelVersion, *, metric: str, margin: float) -> str | None:
    """Why `candidate` does not beat `champion` by `margin`, in words; None if it does.

    Backtests of the same panel and folds are compared by the score itself. Otherwise (there are new data since) each score
    is first divided by that of seasonal naive on the same data, so that an easier month does not look like a better model.
    """
    if _moment(candidate.trained_until) < _moment(champion.trained_until):
        return (
            f"it has seen the series until {candidate.trained_until}, the champion {champion.reference} until "
            f"{champion.trained_until}: a run for an earlier moment does not take its place; to overrule: "
            f"set_alias({candidate.name!r}, {CHAMPION!r}, {candidate.version})"
        )
    mine, theirs = candidate.scores[metric], champion.scores.get(metric, math.nan)
    named = f"the champion {champion.reference}'s"
    if not math.isfinite(theirs):
        return (
            f"{named} {metric} is not known, so {_shown(mine)} cannot be compared with it; backtest it, or overrule: "
            f"set_alias({candidate.name!r}, {CHAMPION!r}, {candidate.version})"
        )
    what = metric
    if (candidate.fingerprint, candidate.backtest) != (champion.fingerprint, champion.backtest):
        what = f"{metric} relative to seasonal naive (their backtests saw different data)"
        mine = _relative(mine, candidate.baseline.get(metric, math.nan))
        theirs = _relative(theirs, champion.baseline.get(metric, math.nan))
        if not (math.isfinite(mine) and math.isfinite(theirs)):
            return (
                f"{named} backtest saw other data and no seasonal naive score is known for both; backtest it on this panel, "
                f"or overrule: set_alias({candidate.name!r}, {CHAMPION!r}, {candidate.version})"
            )
    if mine < theirs * (1 - max(margin, ROUNDING)):
        return None
    return f"its {what} {_shown(mine)} does not beat {named} {_shown(theirs)}{_by(margin)}"


def _moment(trained_until: str) -> tuple[int, str]:
    """Sorts ISO moments and integer steps, which are never mixed in one name."""
    return (int(trained_until), "") if trained_until.lstrip("-").isdigit() else (0, trained_until)


def _relative(score: float, naive: float) -> float:
    return score / naive if naive > 0 else math.nan


def _by(margin: float) -> str:
    return f" by {margin:.1%}" if margin else ""


def _shown(score: float) -> str:
    return f"{score:.6g}"
