"""The shapes of requests and answers about anomalies, for the documentation and for clients that generate code from it.

Requests are read by `service/anomaly_request.py`, by hand and for speed; a test keeps the two in step.
"""

from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from service.schemas import Strict, without_default

Moment = str | int
Column = list[float | None]
Kind = Literal["spike", "level shift", "shape", "variance", "gap"]


class AlarmRules(Strict):
    """When scores become events; what is left out has the default of the library. Steps without a value count."""

    sensitivity: float | None = Field(None, gt=0, le=1000, description="alarms asked for per 1,000 steps; default 1")
    direction: Literal["both", "above", "below"] | None = Field(
        None, description="report only what lies above, or below, what was expected"
    )
    min_duration: int | None = Field(None, ge=1, description="steps that alarm in an event, below which nothing is said")
    merge_gap: int | None = Field(None, ge=0, description="quiet steps that do not end an event; default: width of the detector")
    cooldown: int | None = Field(None, ge=0, description="steps after an event in which alarms are only counted to it")
    close_factor: float | None = Field(
        None, ge=1, le=1000, description="an event goes on while scores are at most so many times as frequent as asked; default 5"
    )
    new_normal: int | None = Field(
        None, ge=0, description="steps after which what lasts is a level shift, and the new normal; 0 = never"
    )
    max_duration: int | None = Field(None, ge=1, description="steps after which an event is closed, whatever it is")
    ignore: list[list[Moment]] | None = Field(
        None,
        description="[first, last] timestamps of maintenance, holidays …: nothing opens there; at most 1,000. Without UTC offset "
        "they are meant on the wall clock of each series, with one the series need a zone",
    )


class JudgedSeries(Strict):
    """One series: its clock (start + freq, or timestamps) and its values, oldest first, in one channel or several."""

    id: str | int = Field(description="comes back with the judgement; unique in the request")
    target: Column | None = Field(None, description="one value per step, null = not observed", min_length=1)
    channels: dict[str, Column] | None = Field(
        None, description="instead of `target`: values by name, of several channels that are judged together"
    )
    start: Moment | None = Field(None, description="timestamp of the first value, ISO 8601 or an integer; needs `freq`")
    freq: Moment | None = Field(None, description="step, as for forecasts; with `timestamps` it may be left out")
    tz: str | None = Field(None, description="zone of the wall clock, as for forecasts")
    timestamps: list[str] | list[int] | None = Field(
        None, description="instead of `start`: one per value, oldest first, without gaps"
    )


class LabelledSeries(JudgedSeries):
    labels: list[Literal[1, 0, -1] | None] | None = Field(
        None, description="what is known: 1 = a true anomaly, -1 = ordinary whatever it looks like, 0 or null = not known"
    )


class AnomalyRequest(Strict):
    """Histories: a detector is fitted to them, then judges them."""

    series: list[LabelledSeries] = Field(min_length=1)
    model: str | None = Field(
        None,
        description="a kind of detector, see GET /v1/models; default: a quick ensemble of pca_remainder, shape_neighbour and "
        "window_energy without a network; `ensemble` finds more and takes seconds",
    )
    options: dict[str, Any] | None = Field(None, description="of that kind of detector; needs `model`")
    seed: int | None = Field(None, ge=0, description="of all chance in the fit; same request and seed, same numbers; default 0")
    sensitivity: float | None = Field(None, gt=0, le=1000, description="alarms asked for per 1,000 steps; default 1")
    alarms: AlarmRules | None = None
    level: float | None = Field(
        None, gt=0, lt=100, description="share of ordinary steps that the band holds, percent; default 99"
    )
    revised: bool | None = Field(
        None, description="true: events come from the revised score, which has seen what came after; default false"
    )
    since: Moment | None = Field(
        None,
        description="judge only the steps from here on; those before are learnt from. Without UTC offset it is meant on the wall "
        "clock of each series, with one the series need a zone",
    )
    explain: bool | None = Field(None, description="channels and nearest normal example of each event; default true")
    feedback: str | None = Field(None, description="name of a stored detector: what callers said of its alarms counts as labels")


class ScoreRequest(Strict):
    """New values of series for a stored detector."""

    series: list[JudgedSeries] = Field(min_length=1)
    model: str = Field(description="name (its champion), name@alias or name/version of a stored detector")
    reset: bool | None = Field(
        None,
        description="true: forget what was sent before of these series, with their events, and begin with these rules; not for "
        "stateless requests",
    )
    stateless: bool | None = Field(
        None, description="true: judge the history given and remember nothing; default: go on from what was sent before"
    )
    sensitivity: float | None = Field(None, gt=0, le=1000, description="alarms asked for per 1,000 steps; default 1")
    alarms: AlarmRules | None = Field(
        None, description="a stream keeps those it was opened with; only `ignore` may change, others need `reset`"
    )
    level: float | None = Field(None, gt=0, lt=100, description="as for POST /v1/anomalies")
    explain: bool | None = Field(None, description="as for POST /v1/anomalies")
    revised: bool | None = Field(None, description="as for POST /v1/anomalies; stateless requests only")
    since: Moment | None = Field(None, description="as for POST /v1/anomalies; stateless requests only")
    recalibrate: bool | None = Field(
        None,
        description="true: before it judges, the detector is recalibrated on the history given, for this request alone. The "
        "newest quarter, without what feedback called true alarms, says anew how high ordinary scores are, which moves scores, "
        "p-values, severities and alarms, and how wide the band is; too short a quarter leaves that as it was. The rows that "
        "the detector keeps to look back on move to the end of the history, but those sent are still judged from what came "
        "before them. What it has learnt stays, and nothing is stored; stateless requests only",
    )


class FeedbackRequest(Strict):
    """Whether an alarm was right: the id of the event, or the series and its first and last step."""

    model: str = Field(description="name of the stored detector; its version and alias do not matter")
    event: str | None = Field(None, description="id of an event that POST /v1/anomalies/score has told")
    series: Moment | None = None
    start: Moment | None = None
    end: Moment | None = Field(None, description="inclusive")
    label: Literal["true alarm", "false alarm"]


class DetectorFacts(Strict):
    """Which detector judged: same request and version, same numbers."""

    name: str
    version: str = Field(description="of the store; of the service where the detector was fitted in the call")
    architecture: str
    trained_until: str | None = Field(description="last timestamp it has learnt from")


class ChannelBand(Strict):
    """What was expected of one channel, in its units; null = nothing to expect from."""

    expected: Column
    lower: Column
    upper: Column


class ChannelShare(Strict):
    name: str
    share: float | None = Field(description="of the evidence of all channels, 0 … 1")
    first: Moment | None = Field(description="when this channel first stood out: a cause comes before its effects")
    value: float | None
    expected: float | None
    severity_without: float | None = Field(description="of the event, had this channel been as expected")


class NormalExample(Strict):
    """The ordinary window nearest to an event."""

    series_id: str
    channel: str
    start: Moment
    end: Moment
    distance: float | None = Field(description="root mean square, in standard deviations of the channel")


class AnomalyEvent(Strict):
    """Neighbouring steps that are out of the ordinary together."""

    id: str = Field(description="the same each time the same steps are judged")
    start: Moment
    end: Moment = Field(description="inclusive")
    peak: Moment = Field(description="step with the highest score")
    steps: int
    peak_score: float | None
    p_value: float | None = Field(description="smallest of its steps")
    severity: float | None = Field(description="0 … 100; 100 = a score that one ordinary step in a million reaches")
    kind: Kind
    open: bool = Field(description="it may go on after the last step")
    suppressed: int = Field(description="further alarms that fell into its cool-down")
    channels: list[ChannelShare] = Field(description="largest share first")
    nearest_normal: NormalExample | None


class Revised(Strict):
    """Earlier steps whose score is final now, whichever request they came in; those that have none are left out."""

    timestamps: list[str] | list[int]
    score: Column


class StreamFacts(Strict):
    """What the steps sent did to the stream of their series."""

    repeated: list[bool] = Field(description="the step was judged before, and this is the answer of then")
    skipped: int = Field(
        description="steps that were missing before those sent; they count as not observed, and with the values sent towards "
        "what a request may hold"
    )
    judged: int = Field(description="steps that the stream has judged so far")
    revised: Revised


class Judged(Strict):
    """One series, step by step; null where there is nothing to say, and `reason` says why."""

    id: str | int
    timestamps: list[str] | list[int]
    score: Column = Field(description="higher = more out of the ordinary; knows only what came before")
    revised_score: Column = Field(description="the same, knowing also what came after")
    p_value: Column = Field(description="share of ordinary steps with such a score")
    severity: Column = Field(description="0 … 100")
    alarm: list[bool] = Field(description="the step is part of an event")
    provisional: list[bool] = Field(description="later steps will still change the revised score")
    reason: list[str | None] = Field(
        description="why there is no score or p-value: missing, too short, too sparse, not calibrated; or already judged, too "
        "long ago to be told again"
    )
    channels: dict[str, ChannelBand]
    events: list[AnomalyEvent]
    notes: list[str] = Field(
        description="what is special about the judgement of this series: values that were not read since others were judged for "
        "their steps, a stream that begins anew, …"
    )
    stream: StreamFacts | SkipJsonSchema[None] = Field(
        None, description="only where the series is judged as its values come", json_schema_extra=without_default
    )


class AnomalyAnswer(Strict):
    model: DetectorFacts
    sensitivity: float = Field(description="alarms asked for per 1,000 steps")
    level: float
    series: list[Judged] = Field(description="one per series, in the order of the request")


class KnownEvent(AnomalyEvent):
    model: str
    version: str
    series: str
    label: Literal["true alarm", "false alarm"] | None = Field(description="what feedback said of it")


class EventList(Strict):
    events: list[KnownEvent] = Field(description="newest first")
    truncated: bool = Field(description="there are more than were asked for")


class Verdict(Strict):
    """What was said of an event, as it is remembered."""

    model: str
    series: str
    start: Moment
    end: Moment
    label: Literal["true alarm", "false alarm"]
    event: str | None
    at: str = Field(description="when it was said, UTC")


class FeedbackAnswer(Strict):
    stored: Verdict
    new: bool = Field(description="false: exactly this was known already")
    durable: bool = Field(description="false: the service has no TSF_STATE_DIR and forgets it when it ends")
    notes: list[str] = Field(description="why it counts for nothing yet: a series or steps that the detector has not seen")
