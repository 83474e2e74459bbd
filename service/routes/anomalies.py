"""POST /v1/anomalies, …/score and …/feedback, GET …/events: histories or new values in, scores and events out."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain, islice
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from service.anomaly_answers import anomalies_json, dump, judge_new_values, rows_of
from service.anomaly_request import (
    AnomalySeries,
    DetectRequest,
    Judging,
    LabelledGroup,
    ScoreRequest,
    anomaly_panels,
    in_channels_of,
    read_detect,
    read_feedback,
    read_score,
)
from service.anomaly_schemas import AnomalyAnswer, EventList, FeedbackAnswer
from service.deps import Needs, Services, decode, read_body
from service.errors import FieldError, Problem, invalid, problem_of
from service.feedback import Verdict, has_offset, moment_of
from service.loaded_models import ServedModel
from service.model_names import no_kind_of_detector
from service.option_types import misfit
from service.schemas import PROBLEMS
from tsforecast import __version__
from tsforecast.anomaly.alarms import AlarmRules
from tsforecast.anomaly.report import AnomalyReport
from tsforecast.errors import DataError, ForecastError, HistoryTooShort, ModelError, OptionError, UnknownModel, did_you_mean
from tsforecast.models.base import Epoch
from tsforecast.models.detector import Detector, channel_values
from tsforecast.models.detector_fitting import recalibrated
from tsforecast.models.ensemble import Ensemble
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.registry import MODELS, available_models, build_detector, detector_class, model_class
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import IntArray, Panel

router = APIRouter(prefix="/v1/anomalies", tags=["anomalies"])
QUICK = {"members": ("pca_remainder", "shape_neighbour", "window_energy")}  # of an ensemble: the best without a network
MOST_COMPARED = 1_000  # ids that a misspelt one is compared with
LEVEL = 99.0  # coverage of the band that is told, percent
STATUSES = (400, 404, 408, 409, 413, 415, 422, 503, 504)


@router.post(
    "",
    summary="Find anomalies in histories: fit and judge in one call",
    response_model=AnomalyAnswer,
    response_description="scores, bands and events of each series",
    responses={status: PROBLEMS[status] for status in STATUSES},
)
async def detect(request: Request, services: Needs) -> Response:
    """Fits a detector to the series of the request, all in one, and judges them; nothing is stored.

    The history may contain anomalies. Its newest quarter is not learnt from but says how high ordinary scores are. With
    `since`, only steps before it are learnt from, and only those after it are judged. Same request, same numbers.
    """
    return await _posted(request, services, _detect)


@router.post(
    "/score",
    summary="Judge new values with a stored detector",
    response_model=AnomalyAnswer,
    response_description="scores, bands and events of the steps sent",
    responses={status: PROBLEMS[status] for status in STATUSES},
)
async def score(request: Request, services: Needs) -> Response:
    """Judges the steps sent, each from those before it that this service has seen of the series.

    Idempotent by timestamp: steps that were judged before get the same answer and change nothing. Where one series is
    refused, none has been judged. With `stateless`, the request is a whole history, and nothing is remembered.
    """
    return await _posted(request, services, _score)


@router.post(
    "/feedback",
    summary="Say whether an alarm was right",
    response_model=FeedbackAnswer,
    response_description="what is remembered",
    responses={status: PROBLEMS[status] for status in STATUSES},
)
async def feedback(request: Request, services: Needs) -> Response:
    """Remembers the verdict: true anomalies leave what counts as ordinary, false alarms enter it. That holds at once for a
    stream of the series, and for later fits (`feedback`) and recalibrations (`recalibrate`).

    The same verdict again changes nothing; another one on the same steps replaces it. One on a series or on steps that the
    detector has not seen is kept too, since they may come later, or in a whole history; `notes` says so.
    """
    return await _posted(request, services, _feedback)


@router.get(
    "/events",
    summary="Events that were told",
    response_model=EventList,
    response_description="the newest first",
    responses={status: PROBLEMS[status] for status in (422, 503, 504)},
)
async def events(
    services: Needs,
    series: Annotated[str | None, Query(description="id of a series", max_length=256)] = None,
    model: Annotated[str | None, Query(description="name of a stored detector", max_length=250)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Events of the series that are judged as their values come, with what feedback said of them."""

    def listed() -> bytes:
        found, more = services.streams.events.newest(series=series, model=model, limit=limit)
        for one in found:
            one["label"] = services.feedback.label_of(one)
        return dump({"events": found, "truncated": more})

    answer = await services.workers.run(listed, seconds=services.settings.request_seconds)
    return Response(answer, media_type="application/json")


Work = Callable[[bytes, Services, dict[str, Any], float], bytes]


async def _posted(request: Request, services: Services, work: Work) -> Response:
    body = await read_body(request, services)
    facts, seconds = request.scope["tsforecast"], services.settings.request_seconds
    facts["bytes_in"], until = len(body), time.monotonic() + seconds
    try:
        answer = await services.workers.run(lambda: work(body, services, facts, until), seconds=seconds)
    except Problem as problem:
        judged = facts.get("series_judged")
        if judged or (judged == 0 and problem.status == 504):
            problem.detail += (
                f"; the streams of at least {judged} of its {facts['series']} series have moved: send it again "
                "in smaller parts, steps that were judged are answered as before"
            )
        raise
    facts["bytes_out"] = len(answer)
    return Response(answer, media_type="application/json")


# What costs time; runs in worker threads. `facts` gets what the log line says of the request, `until` ends it (monotonic).


def _detect(body: bytes, services: Services, facts: dict[str, Any], until: float) -> bytes:
    asked = read_detect(decode(body), services.settings)
    facts["series"], facts["points"] = len(asked.series), sum(one.values.size for one in asked.series)
    recipe = _recipe(asked, services)
    asked = replace(asked, feedback=_named_in_feedback(asked.feedback, services))
    facts["model"] = recipe.name
    began = time.perf_counter()
    reports: list[tuple[LabelledGroup, AnomalyReport]] = []
    trained = set()
    for group in anomaly_panels(asked.series, None):
        labels = _known_labels(asked, group, services)
        with _told(asked.series, group, more=_left_out(asked, labels)):
            detector = _fitted(asked, recipe, group.panel, labels, services, until)
            reports.append((group, _report(detector, group.panel, asked.judging)))
            trained.add(detector.facts.trained_until)
    facts["model_ms"] = round((time.perf_counter() - began) * 1000, 2)
    model = {
        "name": recipe.name,
        "version": __version__,
        "architecture": recipe.name,
        "trained_until": trained.pop() if len(trained) == 1 else None,
    }
    return anomalies_json(asked.series, model, reports)


def _recipe(asked: DetectRequest, services: Services) -> Detector:
    """The recipe asked for.

    Raises:
        UnknownModel: there is none of that name. Problem: 422, a wrong option.
    """
    if asked.model is None and asked.options:
        raise invalid([FieldError(field="options", message="are of a model; say which by `model`")])
    if asked.model is None:
        return build_detector("ensemble", **QUICK)
    if not any(asked.model in table for table in MODELS.values()):
        raise no_kind_of_detector(asked.model, services.models.store)
    try:
        wrong = misfit(detector_class(asked.model), asked.options)
        if wrong is not None:
            message = f"must be {wrong[1]}; GET /v1/models/{asked.model} lists the options"
            raise invalid([FieldError(field=f"options.{wrong[0]}", message=message)])
        recipe = build_detector(asked.model, **asked.options)
        _refuse_slow(recipe)
        return recipe
    except OptionError as error:
        field = "model" if error.field == "model" else f"options.{error.field}"
        raise invalid([FieldError(field=field, message=str(error))]) from error


def _named_in_feedback(given: str | None, services: Services) -> str | None:
    """The name that verdicts on a detector are kept under.

    Raises:
        UnknownModel, ModelError: nothing was said of it, and it is no stored detector.
    """
    if given is None or services.feedback.of(given):
        return given
    try:
        return services.models.get(given, "anomaly").name
    except (UnknownModel, ModelError) as error:
        error.field = "feedback"
        raise


def _refuse_slow(recipe: Detector) -> None:
    """Refuse forecasters that are fitted again at each step: a request could not end them.

    Raises:
        OptionError: there is one, alone or in an ensemble.
    """
    parts = [("forecaster", recipe)]
    if isinstance(recipe, Ensemble):
        parts = [(f"member_options.{one.name}.forecaster", one) for one in recipe.recipes(channels=2)]  # of any number of them
    for where, one in parts:
        forecaster = getattr(one, "forecaster", None)
        if forecaster is not None and _fitted_at_each_step(forecaster):
            allowed = ", ".join(name for name in available_models() if not _fitted_at_each_step(name))
            message = f"{forecaster!r} is fitted again at each step, which takes too long in a request; allowed are {allowed}"
            raise OptionError(message, field=where)


def _fitted_at_each_step(forecaster: str) -> bool:
    about = model_class(forecaster).about
    return about.scope == "local" or not about.needs_training


def _known_labels(asked: DetectRequest, group: LabelledGroup, services: Services) -> IntArray | None:
    """Those of the request, and where it has none those of feedback."""
    if asked.feedback is None:
        return group.labels
    first, second = group.labels, services.feedback.labels(asked.feedback, group.panel)
    if first is None or second is None:
        return second if first is None else first
    return np.where(first != 0, first, second)


def _left_out(asked: DetectRequest, labels: IntArray | None) -> str:
    """What to say besides where nothing can be learnt."""
    true = 0 if labels is None else int(np.count_nonzero(labels == 1))
    by = "labels" if asked.feedback is None else f"labels or by feedback on {asked.feedback!r}"
    return f"; {true} of the rows are not learnt from, since they are true anomalies by {by}" if true else ""


def _fitted(
    asked: DetectRequest, recipe: Detector, panel: Panel, labels: IntArray | None, services: Services, until: float
) -> FittedDetector:
    if asked.judging.since is not None:
        panel, labels = _before(panel, labels, asked.judging.since)

    def in_time(_: Epoch) -> None:
        """A thread cannot be stopped from outside, so training looks at the clock itself."""
        if time.monotonic() > until:
            seconds = services.settings.request_seconds
            detail = f"the detector was still learning after {seconds:g} s; send less history, or train it offline and store it"
            raise Problem(504, "timeout", detail)

    train = TrainConfig(threads=services.settings.torch_threads, progress=False)
    return recipe.fit(panel, seed=asked.seed, train=train, callbacks=(in_time,), labels=labels)


def _score(body: bytes, services: Services, facts: dict[str, Any], until: float) -> bytes:
    asked = read_score(decode(body), services.settings)
    facts["series"], facts["points"] = len(asked.series), sum(one.values.size for one in asked.series)
    model = services.models.get(asked.model, "anomaly")
    facts["model"], facts["version"] = model.name, model.version
    assert model.detector is not None
    series = in_channels_of(asked.series, model.detector.facts.channels)
    groups = anomaly_panels(series, model.detector.facts)
    began = time.perf_counter()
    for group in groups:  # all are looked at before the first stream moves
        with _told(series, group):
            model.detector.check_request(group.panel)
        _check_zone(series, group, model)
    if asked.stateless:
        answer = _whole_histories(asked, series, model, groups, services)
    else:
        answer = _new_values(asked, series, model, groups, services, facts, until)
    facts["model_ms"] = round((time.perf_counter() - began) * 1000, 2)
    return answer


def _whole_histories(
    asked: ScoreRequest,
    series: tuple[AnomalySeries, ...],
    model: ServedModel,
    groups: list[LabelledGroup],
    services: Services,
) -> bytes:
    reports = []
    for group in groups:
        detector = model.detector
        assert detector is not None
        with _told(series, group):
            before = detector if asked.recalibrate else None
            if before is not None:
                detector = recalibrated(before, group.panel, services.feedback.labels(model.name, group.panel))
            reports.append((group, _report(detector, group.panel, asked.judging, before)))
    return anomalies_json(series, _facts_of(model), reports)


def _check_zone(series: Sequence[AnomalySeries], group: LabelledGroup, model: ServedModel) -> None:
    """Moments without a zone and moments with one cannot go on from each other.

    Raises:
        Problem: 422.
    """
    assert model.detector is not None
    of_fit, given = model.detector.facts.tz, group.panel.tz
    if (of_fit is None) == (given is None):
        return
    message = (
        f"the detector was fitted on series of zone {of_fit!r}; give tz, or timestamps with a UTC offset"
        if given is None
        else "the detector was fitted on series without a zone; leave tz and UTC offsets away"
    )
    raise invalid([FieldError(field=f"series[{i}].tz", series=series[i].given_id, message=message) for i in group.places])


def _facts_of(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "architecture": model.architecture,
        "trained_until": model.trained_until,
    }


def _report(detector: FittedDetector, panel: Panel, judging: Judging, before: FittedDetector | None = None) -> AnomalyReport:
    return detector.score(
        panel,
        alarms=_rules_on(judging.alarms, panel),
        level=LEVEL if judging.level is None else judging.level,
        revised=judging.revised,
        since=None if judging.since is None else moment_of(judging.since, panel, "since"),
        explain=judging.explain,
        before=before,
    )


def _rules_on(rules: AlarmRules | None, panel: Panel) -> AlarmRules | None:
    """The rules with the windows to be ignored on the clock of the series."""
    if rules is None or not rules.ignore:
        return rules
    windows = []
    for i, window in enumerate(rules.ignore):
        first, last = (moment_of(one, panel, f"alarms.ignore[{i}]") for one in window)  # type: ignore[arg-type]  # text or int here
        windows.append((first, last))
    return replace(rules, ignore=tuple(windows))


def _new_values(
    asked: ScoreRequest,
    series: tuple[AnomalySeries, ...],
    model: ServedModel,
    groups: list[LabelledGroup],
    services: Services,
    facts: dict[str, Any],
    until: float,
) -> bytes:
    """All is checked before the first stream moves. A thread cannot be stopped, so it looks at the clock between series."""

    def in_time(doing: str) -> None:
        if time.monotonic() > until:
            detail = f"the request was still {doing} after {services.settings.request_seconds:g} s; send fewer series or steps"
            raise Problem(504, "timeout", detail)

    rows: list[dict[str, Any]] = [{} for _ in series]
    judging, streams = asked.judging, services.streams
    told: dict[str, float] = {}
    given: dict[str, Any] = {"level": judging.level, "reset": asked.reset}
    rules = [_rules_on(judging.alarms, group.panel) for group in groups]
    skipped = np.zeros(len(series), dtype=np.int64)
    for group, chosen in zip(groups, rules, strict=True):
        for number, place in enumerate(group.places):
            in_time("being checked")
            new = channel_values(group.panel, number), group.panel.timestamps[rows_of(group.panel, number)]
            with _told(series, group):
                skipped[place] = streams.check(model, series[place].series_id, *new, rules=chosen, **given)
    _refuse_long_gaps(series, skipped, services)
    facts["series_judged"] = 0
    for group, chosen in zip(groups, rules, strict=True):
        for number, place in enumerate(group.places):
            in_time("being judged")
            held = streams.use(model, series[place].series_id, rules=chosen, **given)
            with _told(series, group), held as one:
                found = judge_new_values(one, group.panel, number, streams.events, explain=judging.explain)
                rows[place] = {"id": series[place].given_id} | found
                told = {"sensitivity": float(one.rules.sensitivity), "level": one.stream.level}
            facts["series_judged"] += 1
    return dump({"model": _facts_of(model), **told, "series": rows})


def _refuse_long_gaps(series: Sequence[AnomalySeries], skipped: IntArray, services: Services) -> None:
    """Refuse more missing steps between what was judged and what is sent than one request may have judged.

    Args:
        skipped: (S,) missing steps of each series; each is judged as a row without values.

    Raises:
        Problem: 422 that names the series with most of them first.
    """
    channels = np.array([one.values.shape[1] for one in series])
    values = sum(one.values.size for one in series) + int(skipped @ channels)
    most = services.settings.max_total_points
    if values <= most:
        return
    errors = []
    for place in np.argsort(-skipped, kind="stable")[: np.count_nonzero(skipped)]:
        one = series[place]
        message = (
            f"skips {skipped[place]:,} steps, which are judged as missing; with these the request has {values:,} values to be "
            f"judged, at most {most:,} may be in one: split it"
        )
        field = f"series[{place}].{'timestamps' if one.start is None else 'start'}"
        errors.append(FieldError(field=field, series=one.given_id, message=message))
    raise invalid(errors)


def _feedback(body: bytes, services: Services, facts: dict[str, Any], until: float) -> bytes:
    asked = read_feedback(decode(body), services.settings)
    detector = services.models.get(asked.model, "anomaly")
    facts["model"] = model = detector.name
    if asked.event is None:
        assert asked.series is not None and asked.start is not None and asked.end is not None
        series, start, end = asked.series, asked.start, asked.end
        _check_clock(detector, start)
    else:
        known = services.streams.events.of_id(model, asked.event)
        if known is None:
            detail = f"no event {asked.event!r} of {model!r} is remembered; give series, start and end instead"
            raise Problem(404, "unknown-event", detail, errors=[FieldError(field="event", message=detail)])
        series, start, end = known["series"], known["start"], known["end"]
    said = Verdict(model=model, unique_id=series, start=start, end=end, label=asked.label, event=asked.event)
    stored, new = services.feedback.add(said)
    notes = _counts_for_nothing_yet(stored, detector, services, found=services.streams.tell(stored, new=new))
    told = asdict(stored)
    told["series"] = told.pop("unique_id")
    return dump({"stored": told, "new": new, "durable": services.feedback.folder is not None, "notes": notes})


def _check_clock(model: ServedModel, start: str | int) -> None:
    """Refuse a verdict in steps on a detector of timestamps, or the other way round, or with a zone where there is none.

    Raises:
        Problem: 422: it would never count, or not for the steps that were meant.
    """
    assert model.detector is not None
    counts, message = isinstance(model.detector.facts.freq, int), None
    if isinstance(start, int) != counts:
        wanted = "whole numbers" if counts else "ISO 8601 timestamps"
        message = f"must be {wanted} as in the series that {model.name!r} judges, got {start!r}"
    elif model.detector.facts.tz is None and has_offset(start):
        message = f"must have no UTC offset, as the series that {model.name!r} judges have none, got {start!r}"
    if message is not None:
        raise invalid([FieldError(field=name, message=message) for name in ("start", "end")])


def _counts_for_nothing_yet(verdict: Verdict, model: ServedModel, services: Services, *, found: bool) -> list[str]:
    """Why a verdict changes nothing now; `found` as from `Streams.tell`."""
    assert model.detector is not None
    series, fitted = verdict.unique_id, model.detector.memories
    if series not in fitted and not services.streams.knows(model, series):
        near = did_you_mean(series, islice(chain(fitted, services.streams.open_ids(model.name)), MOST_COMPARED))
        return [
            f"{model.name!r} has not seen series {series!r}{near or ';'} the verdict is kept, "
            "and counts when steps of that series that it speaks of are learnt from or recalibrated on"
        ]
    if found:
        return []
    return [
        f"the stream of series {series!r} has judged none of these steps, or remembers them no more; the verdict is kept, "
        "and counts when they are learnt from or recalibrated on"
    ]


@contextmanager
def _told(series: Sequence[AnomalySeries], group: LabelledGroup, *, more: str = "") -> Iterator[None]:
    """What the library refuses, as a problem in the words of the request, and `more` where the data will not do."""
    try:
        yield
    except HistoryTooShort as error:
        # Learning sees rows, not ids: it calls a series by its number.
        number = re.fullmatch(r"number (\d+)", error.series_id or "")
        if number is not None:
            error = HistoryTooShort(group.panel.series_ids[int(number[1])], have=error.have, need=error.need)
        raise _in_words_of_http(problem_of(error, series=series, places=group.places), more) from error
    except ForecastError as error:
        problem = problem_of(error, series=series, places=group.places)
        raise _in_words_of_http(problem, more if isinstance(error, DataError) else "") from error


def _in_words_of_http(problem: Problem, more: str) -> Problem:
    """The problem with the way out that a request has where the library names that of Python, and with `more` behind."""

    def said(text: str) -> str:
        return text.replace("detector.stream(series_id)", 'set "reset": true') + more

    problem.detail = said(problem.detail)
    problem.errors = tuple(replace(one, message=said(one.message)) for one in problem.errors)
    return problem


def _before(panel: Panel, labels: IntArray | None, since: str | int) -> tuple[Panel, IntArray | None]:
    """The rows before `since`; series that have none are left out.

    Raises:
        Problem: 422, there are none.
    """
    moment = moment_of(since, panel, "since")
    kept = panel.timestamps < np.array([moment], dtype=panel.timestamps.dtype)
    lengths = np.add.reduceat(kept, panel.offsets[:-1])
    there = np.flatnonzero(lengths)
    if not len(there):
        raise invalid([FieldError(field="since", message=f"leaves nothing to learn from: no step lies before {since}")])
    part = replace(
        panel,
        series_ids=tuple(panel.series_ids[i] for i in there),
        offsets=np.concatenate([[0], np.cumsum(lengths[there])]),
        timestamps=panel.timestamps[kept],
        target=panel.target[kept],
        past_covariates=None if panel.past_covariates is None else panel.past_covariates[kept],
    )
    return part, None if labels is None else labels[kept]
