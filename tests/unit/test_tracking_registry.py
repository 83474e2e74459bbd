"""Registered models: which version a name means, and who becomes champion."""

import json
import math
import shutil
from datetime import datetime

import pytest

from tests.unit.tracking_cases import NAIVE, Backtest, fitted, panel_of, version_with
from tsforecast.errors import ArtifactError, NotBetter, OptionError, TrackingError, UnknownModel
from tsforecast.tracking import open_tracking

BASELINE = {"mase": 1.0}


@pytest.fixture
def tracker(tracking_folder):
    return open_tracking(folder=tracking_folder)


def candidate(tracker, mase, *, fingerprint="f1", backtest="3 folds of 7 steps", **more):
    """A new version of "shop" with that score."""
    scores = json.dumps({"mase": mase, "coverage_80": 0.8})
    return version_with(tracker, scores=scores, fingerprint=fingerprint, backtest=backtest, **more)


def aliases(tracker):
    return {alias: version.version for version in tracker.versions("shop") for alias in version.aliases}


# ---------------------------------------------------------------- which version a name means


def test_a_reference_is_a_name_an_alias_or_a_number(tracker):
    for _ in range(3):
        version_with(tracker)
    tracker.set_alias("shop", "champion", 2)
    tracker.set_alias("shop", "night", 1)
    assert tracker.resolve("shop").version == 2
    assert tracker.resolve("shop@champion").version == 2
    assert tracker.resolve("shop@night").version == 1
    assert tracker.resolve("shop/3").version == 3
    assert tracker.resolve("shop/3").reference == "shop/3"
    assert tracker.resolve("shop").aliases == ("champion",)


def test_versions_are_listed_newest_first_and_names_sorted(tracker):
    for _ in range(11):
        version_with(tracker)
    for name in ("zoo", "air"):
        tracker.store.client.create_registered_model(name)
    assert [version.version for version in tracker.versions("shop")] == list(range(11, 0, -1))
    assert tracker.names() == ["air", "shop", "zoo"]
    assert tracker.versions("zoo") == []


def test_all_pages_of_a_long_list_are_read(tracker, monkeypatch):
    for _ in range(5):
        version_with(tracker)
    search = tracker.store.client.search_model_versions
    monkeypatch.setattr(tracker.store.client, "search_model_versions", lambda **more: search(max_results=2, **more))
    assert len(tracker.versions("shop")) == 5


def test_a_version_tells_what_it_is(tracker):
    version = version_with(tracker, scores='{"mase": 0.5, "mape": null}', fingerprint="f1", backtest="3 folds of 7 steps")
    assert (version.name, version.version, version.model, version.horizon) == ("shop", 1, "gru", 7)
    assert (version.freq, version.season, version.trained_until) == ("D", 7, "2024-03-01T00:00:00")
    assert datetime.fromisoformat(version.created).utcoffset() is not None
    assert version.scores["mase"] == 0.5
    assert math.isnan(version.scores["mape"])
    assert version_with(tracker, freq="1").freq == 1


def test_a_version_of_somebody_else_is_listed_without_facts(tracker):
    tracker.store.client.create_registered_model("theirs")
    tracker.store.client.create_model_version("theirs", source="file:///nowhere")
    version = tracker.resolve("theirs/1")
    assert (version.model, version.horizon, version.freq, version.scores) == ("", 0, "", {})
    with pytest.raises(ArtifactError, match=r"the files of theirs/1 cannot be read from .*/nowhere: .*; put them back"):
        tracker.load("theirs/1")


def test_a_name_that_means_nothing_lists_those_there_are(tracker):
    version_with(tracker)
    version_with(tracker)
    tracker.set_alias("shop", "day", 1)
    unknown = ["shop@night", "shop/3", "shop/x", "shop/1@day", "shop@day/1", "shop/01", "shop/²", "shop/", "shop@"]
    said = {reference: f"no model {reference!r}; there are shop/2, shop/1, shop@day" for reference in unknown}
    said["shop"] = "no model 'shop': it has no champion; promote a version or name one; there are shop/2, shop/1, shop@day"
    said |= {reference: f"no registered model {reference!r}; there are: shop" for reference in ("store", "", "no such:name")}
    for reference, message in said.items():
        with pytest.raises(UnknownModel) as caught:
            tracker.resolve(reference)
        assert str(caught.value) == message
        assert caught.value.field == "model"


def test_an_empty_registry_says_so(tracker):
    assert tracker.names() == []
    with pytest.raises(UnknownModel, match="no registered model 'shop'; there are: none yet"):
        tracker.resolve("shop")
    tracker.store.client.create_registered_model("shop")
    with pytest.raises(UnknownModel, match=r"it has no champion; .* there are no versions of it"):
        tracker.resolve("shop")


def test_an_alias_moves_and_cannot_name_a_version_that_is_not_there(tracker):
    version_with(tracker)
    version_with(tracker)
    assert tracker.set_alias("shop", "night", 1).aliases == ("night",)
    assert tracker.set_alias("shop", "night", 2).aliases == ("night",)
    assert aliases(tracker) == {"night": 2}
    with pytest.raises(UnknownModel, match="no model 'shop/9'"):
        tracker.set_alias("shop", "night", 9)
    with pytest.raises(TrackingError, match=r"could not set alias 'v1' of 'shop'"):
        tracker.set_alias("shop", "v1", 1)  # MLflow keeps such aliases for itself


def test_files_that_are_gone_or_damaged_are_an_artifact_error(tracker, tracking_folder):
    panel = panel_of()
    with tracker.training_run(experiment="shop", run_name="naive", flow=NAIVE, panel=panel) as run:
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    weights = next((tracking_folder / "artifacts").rglob("data/flow/weights.safetensors"))
    weights.write_bytes(b"\0" + weights.read_bytes())
    with pytest.raises(ArtifactError, match="does not match its checksum"):
        tracker.load("shop/1")
    shutil.rmtree(tracking_folder / "artifacts")
    with pytest.raises(ArtifactError, match=r"the files of shop/1 cannot be read from file:.*; put them back where they were"):
        tracker.load("shop/1")


# ---------------------------------------------------------------- who becomes champion


def test_the_first_version_that_beats_seasonal_naive_is_champion(tracker):
    candidate(tracker, 0.9)
    version = tracker.promote("shop", 1, baseline=BASELINE)
    assert version.aliases == ("champion",)
    assert version.baseline == BASELINE
    assert tracker.resolve("shop").version == 1


@pytest.mark.parametrize(("mase", "margin"), [(1.0, 0.0), (1.2, 0.0), (0.95, 0.1), (1.0 - 1e-12, 0.0)])
def test_a_version_that_does_not_beat_seasonal_naive_is_refused_with_both_numbers(tracker, mase, margin):
    candidate(tracker, mase)
    by = r" by 10\.0%" if margin else ""
    with pytest.raises(
        NotBetter, match=rf"shop/1 \(gru\) is not promoted: its mase {mase:g} does not beat seasonal naive's 1{by}$"
    ):
        tracker.promote("shop", 1, baseline=BASELINE, margin=margin)
    assert aliases(tracker) == {}


def test_the_margin_is_a_share_of_the_score_to_beat(tracker):
    candidate(tracker, 0.89)
    assert tracker.promote("shop", 1, baseline=BASELINE, margin=0.1).aliases == ("champion",)
    candidate(tracker, 0.81)
    with pytest.raises(NotBetter, match=r"its mase 0\.81 does not beat the champion shop/1's 0\.89 by 10\.0%"):
        tracker.promote("shop", 2, baseline=BASELINE, margin=0.1)
    candidate(tracker, 0.80)
    assert tracker.promote("shop", 3, baseline=BASELINE, margin=0.1).aliases == ("champion",)


def test_a_better_version_takes_over_and_the_one_before_stays_at_hand(tracker):
    candidate(tracker, 0.9)
    candidate(tracker, 0.8)
    tracker.promote("shop", 1, baseline=BASELINE)
    assert tracker.promote("shop", 2, baseline=BASELINE).aliases == ("champion",)
    assert aliases(tracker) == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("mase", [0.85, 0.8])
def test_a_version_that_beats_naive_but_not_the_champion_is_challenger(tracker, mase):
    candidate(tracker, 0.8)
    candidate(tracker, mase)
    tracker.promote("shop", 1, baseline=BASELINE)
    words = (
        rf"shop/2 \(gru\) is not promoted, it is the challenger now: its mase {mase} does not beat the champion shop/1's 0\.8$"
    )
    with pytest.raises(NotBetter, match=words):
        tracker.promote("shop", 2, baseline=BASELINE)
    assert aliases(tracker) == {"champion": 1, "challenger": 2}


def test_a_challenger_that_wins_later_is_challenger_no_more(tracker):
    candidate(tracker, 0.8)
    candidate(tracker, 0.85)
    tracker.promote("shop", 1, baseline=BASELINE)
    with pytest.raises(NotBetter):
        tracker.promote("shop", 2, baseline=BASELINE)
    tracker.store.client.set_model_version_tag("shop", "2", "scores", '{"mase": 0.7}')
    tracker.promote("shop", 2, baseline=BASELINE)
    assert aliases(tracker) == {"champion": 2, "previous": 1}


def test_promoting_the_champion_again_changes_nothing(tracker):
    candidate(tracker, 0.9)
    candidate(tracker, 0.8)
    tracker.promote("shop", 1, baseline=BASELINE)
    tracker.promote("shop", 2, baseline=BASELINE)
    assert tracker.promote("shop", 2, baseline={"mase": 0.95}).baseline == BASELINE
    assert aliases(tracker) == {"champion": 2, "previous": 1}


def test_on_other_data_scores_are_compared_relative_to_seasonal_naive(tracker):
    """A hard month: 1.2 against naive's 2.0 (0.60 of it) is better than 0.8 against 1.0 was, and 1.7 (0.85) is not."""
    candidate(tracker, 0.8, fingerprint="january")
    tracker.promote("shop", 1, baseline={"mase": 1.0})
    candidate(tracker, 1.7, fingerprint="february")
    with pytest.raises(
        NotBetter, match=r"mase relative to seasonal naive \(.*different data\) 0\.85 does not beat .*shop/1's 0\.8$"
    ):
        tracker.promote("shop", 2, baseline={"mase": 2.0})
    candidate(tracker, 1.2, fingerprint="february")
    assert tracker.promote("shop", 3, baseline={"mase": 2.0}).aliases == ("champion",)


def test_an_easier_month_does_not_look_like_a_better_model(tracker):
    candidate(tracker, 0.8, fingerprint="january")
    tracker.promote("shop", 1, baseline={"mase": 1.0})
    candidate(tracker, 0.45, fingerprint="february")  # 0.9 of seasonal naive's
    with pytest.raises(NotBetter, match=r"0\.9 does not beat the champion shop/1's 0\.8"):
        tracker.promote("shop", 2, baseline={"mase": 0.5})


def test_the_same_data_cut_into_other_folds_are_other_data(tracker):
    candidate(tracker, 0.8)
    tracker.promote("shop", 1, baseline={"mase": 1.0})
    candidate(tracker, 0.45, backtest="1 folds of 7 steps")
    with pytest.raises(NotBetter, match="different data"):
        tracker.promote("shop", 2, baseline={"mase": 0.5})


def test_a_champion_set_by_hand_without_a_score_is_not_pushed_aside(tracker):
    version_with(tracker)
    tracker.set_alias("shop", "champion", 1)
    candidate(tracker, 0.5)
    with pytest.raises(NotBetter, match=r"shop/1's mase is not known, .* or overrule: set_alias\('shop', 'champion', 2\)"):
        tracker.promote("shop", 2, baseline=BASELINE)
    assert aliases(tracker) == {"champion": 1, "challenger": 2}


def test_a_champion_set_by_hand_on_other_data_cannot_be_compared(tracker):
    candidate(tracker, 0.8, fingerprint="january")
    tracker.set_alias("shop", "champion", 1)
    candidate(tracker, 0.5, fingerprint="february")
    with pytest.raises(NotBetter, match=r"shop/1's backtest saw other data and no seasonal naive score is known for both"):
        tracker.promote("shop", 2, baseline=BASELINE)


def test_a_score_that_is_not_a_finite_number_is_refused(tracker):
    for score in (math.nan, None, math.inf, -math.inf):
        version = candidate(tracker, score)
        with pytest.raises(NotBetter, match="it has no finite mase from a backtest"):
            tracker.promote("shop", version.version, baseline=BASELINE)


def test_a_version_without_a_backtest_is_refused(tracker):
    version_with(tracker)
    with pytest.raises(NotBetter, match=r"it has no finite mase from a backtest \(got nan\); run a backtest and log it first"):
        tracker.promote("shop", 1, baseline=BASELINE)


def test_without_a_score_of_seasonal_naive_nothing_is_promoted(tracker):
    candidate(tracker, 0.5)
    for baseline in ({}, {"mase": math.nan}, {"wql": 0.1}):
        with pytest.raises(NotBetter, match=r"the baseline has no finite mase \(got nan\); backtest seasonal_naive"):
            tracker.promote("shop", 1, baseline=baseline)


def test_a_metric_of_which_less_is_not_better_is_refused(tracker):
    candidate(tracker, 0.5)
    for metric in ("bias", "coverage_80", "width_80"):
        with pytest.raises(OptionError, match=f"less {metric} is not better; promote by an error such as mase"):
            tracker.promote("shop", 1, metric=metric, baseline={metric: 1.0})


def test_a_margin_that_is_no_share_is_refused(tracker):
    candidate(tracker, 0.5)
    for margin in (-0.1, 1.0, math.nan):
        with pytest.raises(OptionError, match=rf"margin is a share of the score to beat, in \[0, 1\), got {margin}"):
            tracker.promote("shop", 1, baseline=BASELINE, margin=margin)


def test_the_reason_of_each_decision_stays_with_the_version(tracker):
    candidate(tracker, 0.8)
    candidate(tracker, 0.9)
    candidate(tracker, 1.1)
    tracker.promote("shop", 1, baseline=BASELINE)
    for version in (2, 3):
        with pytest.raises(NotBetter):
            tracker.promote("shop", version, baseline=BASELINE)
    said = {one.version: one.tags["promotion"] for one in tracker.store.client.search_model_versions("name='shop'")}
    assert said == {
        1: "champion: mase 0.8",
        2: "challenger: its mase 0.9 does not beat the champion shop/1's 0.8",
        3: "refused: its mase 1.1 does not beat seasonal naive's 1",
    }


def test_rolling_back_is_one_call_and_can_be_undone(tracker):
    candidate(tracker, 0.9)
    candidate(tracker, 0.8)
    tracker.promote("shop", 1, baseline=BASELINE)
    with pytest.raises(UnknownModel, match="no model 'shop@previous'"):
        tracker.rollback("shop")
    tracker.promote("shop", 2, baseline=BASELINE)
    assert tracker.rollback("shop").version == 1
    assert aliases(tracker) == {"champion": 1, "previous": 2}
    assert tracker.rollback("shop").version == 2
    assert aliases(tracker) == {"champion": 2, "previous": 1}


# ---------------------------------------------------------------- leaderboard


def record(tracker, name, values, *, fails=False):
    with tracker.training_run(experiment="shop", run_name=name, flow=NAIVE, panel=panel_of()) as run:
        if values:
            run.log_scores(Backtest(values=values))
        if fails:
            raise RuntimeError
    return run


def test_the_leaderboard_is_the_newest_finished_run_of_each_name_best_first(tracker):
    panel = panel_of()
    record(tracker, "old", {"mase": 0.1, "wql": 1.0})
    record(tracker, "naive", {"mase": 1.0, "wql": 0.2})
    record(tracker, "old", {"mase": 0.9, "wql": 0.3})
    record(tracker, "no scores", None)
    with pytest.raises(RuntimeError):
        record(tracker, "failed", {"mase": 0.0}, fails=True)
    with tracker.training_run(experiment="shop", run_name="best", flow=NAIVE, panel=panel) as run:
        run.log_scores(Backtest(values={"mase": 0.5}))
        run.log_model(fitted(panel), example=panel, registered_name="shop")
    table = tracker.leaderboard("shop")
    assert list(table.columns) == ["run", "model", "mase", "wql", "seconds", "version", "run_id"]
    assert table["run"].tolist() == ["best", "old", "naive"]
    assert table["mase"].tolist() == [0.5, 0.9, 1.0]
    assert table["version"].tolist() == ["shop/1", "", ""]
    assert table["model"].tolist() == ["seasonal_naive"] * 3
    assert table["run_id"].iloc[0] == run.run_id
    assert (table["seconds"] >= 0).all()
    assert tracker.leaderboard("shop", metric="wql")["run"].tolist() == ["naive", "old", "best"]  # NaN comes last


def test_a_leaderboard_of_nothing_is_empty_and_of_the_unknown_an_error(tracker):
    record(tracker, "no scores", None)
    assert len(tracker.leaderboard("shop")) == 0
    with pytest.raises(TrackingError, match="no experiment 'store'; there are Default, shop"):
        tracker.leaderboard("store")
    record(tracker, "naive", {"mase": 1.0})
    with pytest.raises(OptionError, match="no run of 'shop' has a score 'owa'"):
        tracker.leaderboard("shop", metric="owa")


def test_a_run_for_an_earlier_moment_does_not_take_the_place_of_a_later_one(tracker):
    candidate(tracker, 0.5, trained_until="2024-03-30T00:00:00")
    tracker.promote("shop", 1, baseline=BASELINE)
    candidate(tracker, 0.1, trained_until="2024-03-01T00:00:00", fingerprint="f2")
    with pytest.raises(NotBetter, match=r"seen the series until 2024-03-01T00:00:00, the champion shop/1 until 2024-03-30"):
        tracker.promote("shop", 2, baseline=BASELINE)
    assert aliases(tracker)["champion"] == 1
    candidate(tracker, 0.1, trained_until="2024-04-01T00:00:00", fingerprint="f3")
    assert tracker.promote("shop", 3, baseline=BASELINE).version == 3
