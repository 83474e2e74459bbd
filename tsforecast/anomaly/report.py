"""What goes out of a detector: a score for each step, what was expected there, and the events that deserve a look."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tsforecast.panel import FloatArray, IntArray, TimeArray, wall_labels

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]
Kind = Literal["spike", "level shift", "shape", "variance", "gap"]
REASONS = (
    "",
    "missing",
    "too short",
    "not calibrated",
    "too sparse",
)  # why a step has no score or no p-value: by `reason`
JUDGED, MISSING, TOO_SHORT, NOT_CALIBRATED, TOO_SPARSE = range(5)
MOST_SEVERE = 6.0  # -log10 of the p-value that is severity 100


def severity_of(p_value: FloatArray) -> FloatArray:
    """p-values in (0, 1] -> severity 0 … 100: 100 at one in a million steps, NaN where there is no p-value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: FloatArray = 100.0 * np.clip(-np.log10(p_value) / MOST_SEVERE, 0.0, 1.0) + 0.0  # not -0.0
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelShare:
    """What one channel adds to an event."""

    name: str
    share: float  # 0 … 1 of the evidence of all channels, mean over the event
    first: str | int | None  # timestamp since which this channel is out of the ordinary: a cause comes first; None = it is not
    value: float | None  # at the step where the channel stands out most; None = missing there
    expected: float | None  # … and what was expected there, in units of the channel
    severity_without: float | None  # of the event, had this channel been as expected; None = not worked out


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalExample:
    """The window of the training data that is nearest to an event."""

    series_id: str
    channel: str
    start: str | int  # first and last timestamp of that window
    end: str | int
    distance: float  # root mean square of the difference, in training standard deviations of the channel


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Neighbouring steps of one series that are out of the ordinary together."""

    id: str  # the same each time the same rows are judged: series id and start
    series_id: str
    start: np.datetime64 | int  # first and last step, both inclusive
    end: np.datetime64 | int
    peak: np.datetime64 | int  # step with the highest score
    first_row: int  # rows of the series, from 0
    last_row: int
    peak_score: float
    p_value: float  # smallest of its steps
    severity: float  # 0 … 100, of that p-value
    kind: Kind
    open: bool = False  # whether it may go on after the last row
    suppressed: int = 0  # further alarms that fell into its cool-down
    channels: tuple[ChannelShare, ...] = ()  # largest share first
    nearest_normal: NormalExample | None = None

    @property
    def steps(self) -> int:
        return self.last_row - self.first_row + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomalyReport:
    """Scores of the rows of a panel, end to end as in the panel, and the events among them.

    N rows, C channels. `score` is causal: it depends on the step and what came before, so batch and stream agree.
    `revised_score` also reads what came after; it finds the borders of an event better.
    """

    series_ids: tuple[str, ...]  # (S,)
    offsets: IntArray  # (S + 1,)
    timestamps: TimeArray  # (N,)
    channels: tuple[str, ...]  # (C,)
    values: FloatArray  # (N, C) as they came in
    score: FloatArray  # (N,) higher = more out of the ordinary; in median absolute deviations; NaN = cannot be judged
    revised_score: FloatArray  # (N,) the same, knowing what came after
    provisional: BoolArray  # (N,) whether later rows will still change the revised score
    p_value: FloatArray  # (N,) share of ordinary steps with such a score, in (0, 1]; NaN where not judged
    rate: FloatArray  # (N,) alarms per step that a threshold at this score would have given; NaN where not judged
    severity: FloatArray  # (N,) 0 … 100
    alarm: BoolArray  # (N,) whether the step alarms within an event; quiet steps between such are part of it too
    reason: npt.NDArray[np.int8]  # (N,) index in REASONS
    expected: FloatArray  # (N, C) in units of the channel; NaN = nothing to expect from
    lower: FloatArray  # (N, C) band that holds `level` percent of ordinary steps
    upper: FloatArray  # (N, C)
    channel_scores: FloatArray  # (N, C) parts of `score`
    events: tuple[Event, ...]  # by series, then time
    sensitivity: float  # alarms asked for per 1,000 steps
    level: float  # coverage of the band, percent
    revised: bool = False  # whether p-values and events come from the revised score
    tz: str | None = None
    zones: tuple[str, ...] = ()  # (S,) as in the panel
    notes: tuple[tuple[str, str], ...] = field(default=())  # (series id, what is special about its judgement)

    def __post_init__(self) -> None:
        rows, channels = len(self.timestamps), len(self.channels)
        for name in ("score", "revised_score", "provisional", "p_value", "rate", "severity", "alarm", "reason"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} must have shape (N,) = ({rows},), got {getattr(self, name).shape}")
        for name in ("values", "expected", "lower", "upper", "channel_scores"):
            if getattr(self, name).shape != (rows, channels):
                raise ValueError(f"{name} must have shape (N, C) = {(rows, channels)}, got {getattr(self, name).shape}")
        for name in self.__slots__:
            if isinstance(value := getattr(self, name), np.ndarray):
                value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.series_ids)

    def rows_of(self, series: int) -> slice:
        """Rows of the series at index `series`."""
        return slice(int(self.offsets[series]), int(self.offsets[series + 1]))

    def to_frame(self) -> "pd.DataFrame":
        """One row per (series, step): unique_id, ds, score, revised_score, p_value, severity, alarm, reason, provisional,
        then for each channel its value, expected, lower, upper and score ("cpu", "cpu:expected" …)."""
        import pandas as pd

        frame: dict[str, object] = {"unique_id": np.repeat(np.asarray(self.series_ids, dtype=object), np.diff(self.offsets))}
        frame["ds"] = self._wall_labels()
        for name in ("score", "revised_score", "p_value", "severity", "alarm", "provisional"):
            frame[name] = getattr(self, name)
        frame["reason"] = np.asarray(REASONS, dtype=object)[self.reason]
        for c, channel in enumerate(self.channels):
            frame[channel] = self.values[:, c]
            for name, values in (("expected", self.expected), ("lower", self.lower), ("upper", self.upper)):
                frame[f"{channel}:{name}"] = values[:, c]
            if len(self.channels) > 1:
                frame[f"{channel}:score"] = self.channel_scores[:, c]
        return pd.DataFrame(frame)

    def _wall_labels(self) -> "pd.Index[Any]":
        if not self.zones:
            return wall_labels(self.timestamps, self.tz)
        import pandas as pd

        parts = [wall_labels(self.timestamps[self.rows_of(i)], zone).astype(object) for i, zone in enumerate(self.zones)]
        return pd.Index(np.concatenate(parts) if parts else [], dtype=object)

    def label(self, moment: np.datetime64 | int, series_id: str) -> str | int:
        """A timestamp of a series as text, on its wall clock; steps of an integer clock stay numbers."""
        if not isinstance(moment, np.datetime64):
            return int(moment)
        zone = self.zones[self.series_ids.index(series_id)] if self.zones else self.tz
        label: str = wall_labels(np.asarray([moment]), zone)[0].isoformat()
        return label

    def events_frame(self) -> "pd.DataFrame":
        """One row per event, channels as text ("cpu 0.71, disk 0.29")."""
        import pandas as pd

        rows = []
        for event in self.events:
            row = {name: getattr(event, name) for name in ("id", "series_id", "kind", "severity", "p_value", "peak_score")}
            row |= {name: self.label(getattr(event, name), event.series_id) for name in ("start", "end", "peak")}
            row |= {"steps": event.steps, "open": event.open, "suppressed": event.suppressed}
            row["channels"] = ", ".join(f"{one.name} {one.share:.2f}" for one in event.channels)
            rows.append(row)
        columns = ("id", "series_id", "start", "end", "peak", "steps", "kind", "severity", "p_value", "peak_score")
        return pd.DataFrame(rows, columns=pd.Index([*columns, "open", "suppressed", "channels"]))

    def events_json(self) -> list[dict[str, Any]]:
        """The events as JSON values, timestamps as text."""
        found = []
        for event in self.events:
            one = asdict(event) | {"steps": event.steps}
            one |= {name: self.label(getattr(event, name), event.series_id) for name in ("start", "end", "peak")}
            found.append(one)
        return found
