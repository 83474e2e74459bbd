"""What the other channels of the same step let expect of each: sees a relation that breaks while each channel looks ordinary.

With all components kept, each over its variance plus a little, the distance of a step from the centre in a PCA of the
channels is a sum over the channels: the difference of each to its regression on the others. That is what is kept here.
A channel that is far off spoils what is expected of those that go with it, so the others are judged again without it
(contributions by reconstruction: Alcala & Qin 2009, Reconstruction-based contribution for process monitoring).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_windows import check_window
from tsforecast.models.evidence import centred_mean, trailing_mean
from tsforecast.models.window_arrays import chunks
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

LEAST_ROWS = 16  # of the longest series
FAR_OFF = 9.0  # squared difference over its variance from which on the others are judged without a channel
MOST_LEFT_OUT = 3  # channels of a step
AT_ONCE = 2_000_000  # numbers in the matrices of steps that are worked on together


@dataclass(frozen=True, kw_only=True)
class ChannelPCA(Detector):
    """Squared difference of each channel to what the others let expect at that step; of one channel alone, to its mean."""

    name: ClassVar[str] = "channel_pca"
    about: ClassVar[About] = About(
        family="baseline",
        scope="global",
        source="Shyu et al. 2003, A novel anomaly detection scheme based on principal component classifier",
        minimal_history="16 steps of one series",
        needs_training=False,
    )

    window: int = 4  # steps whose mean is the evidence
    ridge: float = 0.03  # variance added to each component, where that of a channel is 1

    def __post_init__(self) -> None:
        check_window(self.window, least=1)
        if isinstance(self.ridge, bool) or not isinstance(self.ridge, int | float) or not 0 < self.ridge < np.inf:
            raise OptionError(f"ridge must be a positive number, got {self.ridge!r}", field="ridge")

    @classmethod
    def tiny(cls) -> Self:
        return cls()

    @classmethod
    def core_class(cls) -> type["ChannelPCACore"]:
        return ChannelPCACore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["ChannelPCACore", dict[str, Any]]:
        longest = max((len(rows) for rows in series), default=0)
        if longest < LEAST_ROWS or not any(np.isfinite(rows.values).any() for rows in series):
            refuse_short(series, need=LEAST_ROWS)
        channels = series[0].values.shape[1]
        products, counts = np.zeros((channels, channels)), np.zeros((channels, channels))
        for rows in series:
            seen = np.isfinite(rows.values)
            filled = np.where(seen, rows.values, 0.0)
            products += filled.T @ filled
            counts += seen.astype(np.float64).T @ seen
        common = products / np.maximum(counts, 1)
        np.fill_diagonal(common, 1.0)  # rows are standardised, and of a channel that never changes nothing is known
        variance, vectors = np.linalg.eigh(common)
        rows_seen = max(float(counts.max()), 1.0)
        # few rows make relations up: so many channels in so many rows
        grown = np.maximum(variance, 0.0) + self.ridge + channels / rows_seen
        covariance = (vectors * grown) @ vectors.T
        core = ChannelPCACore(window=self.window, covariance=covariance)
        return core, {"rows": int(rows_seen), "largest_share": float(variance[-1] / channels)}


class ChannelPCACore(Core):
    """Covariance of the channels, ridge included."""

    kinds = ("relation",)

    def __init__(self, *, window: int, covariance: FloatArray) -> None:
        self.window = self.width = window
        self.reach, self.delay = window - 1, window - 1 - window // 2
        self.covariance = covariance  # (C, C)

    def evidence(self, rows: Rows) -> Evidence:
        squares, expected = self._against_others(rows.values)
        there = np.isfinite(rows.values)
        return Evidence(
            causal=np.where(there, trailing_mean(squares, self.window), np.nan)[None],
            revised=np.where(there, centred_mean(squares, self.window), np.nan)[None],
            expected=expected,
            revised_expected=expected,
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        found = self.evidence(rows.last(newest + self.reach))
        return found.causal[:, -newest:], found.expected[-newest:]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"covariance": self.covariance}, {"window": self.window}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "ChannelPCACore":
        return cls(window=int(values["window"]), covariance=arrays["covariance"])

    def _against_others(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of steps (T, C): squared difference to what the other observed channels let expect, over its variance; and that.

        A channel that is not observed takes no part, and is expected all the same.
        """
        squares, expected = np.full_like(values, np.nan), np.full_like(values, np.nan)
        patterns, which = np.unique(np.isfinite(values), axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            seen, unseen = np.flatnonzero(pattern), np.flatnonzero(~pattern)
            if not len(seen):
                continue
            at = np.flatnonzero(which.reshape(-1) == number)
            inverse: FloatArray = np.linalg.inv(self.covariance[np.ix_(seen, seen)]).astype(np.float64)
            known = values[np.ix_(at, seen)]
            squares[np.ix_(at, seen)], away = _differences(known, inverse)
            expected[np.ix_(at, seen)] = known - away
            expected[np.ix_(at, unseen)] = known @ inverse @ self.covariance[np.ix_(seen, unseen)]
        return squares, expected


def _differences(values: FloatArray, inverse: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(squared difference over its variance, difference) of each of the values (B, C) to its regression on the others.

    `inverse` (C, C) is that of their covariance. Of a step with a channel far off, that channel is left out for the others,
    then the next one, as long as there is one. Of two channels that only tell each other, one takes all the blame.
    """
    strength = np.diag(inverse)  # 1 / variance of a channel, given the others
    away = values @ inverse / strength
    squares = away**2 * strength
    far = np.flatnonzero(squares.max(axis=1) > FAR_OFF)
    for part in chunks(len(far), max(AT_ONCE // inverse.size, 1)):
        at = far[part]
        squares[at], away[at] = _left_out(squares[at], away[at], inverse)
    return squares, away


def _left_out(squares: FloatArray, away: FloatArray, inverse: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same once the channels far off are left out, one after the other; what was found of them then stays."""
    left, rows = np.zeros(squares.shape, dtype=np.bool_), np.arange(len(squares))
    matrices = np.repeat(inverse[None], len(rows), axis=0)  # (B, C, C) of the channels that are left, for each step
    for _ in range(min(MOST_LEFT_OUT, squares.shape[1] - 1)):
        open_ones = np.where(left, -1.0, squares)
        worst = open_ones.argmax(axis=1)
        off = open_ones[rows, worst] > FAR_OFF
        if not off.any():
            break
        strength = np.einsum("bcc->bc", matrices)
        column = matrices[rows, :, worst]  # (B, C)
        products = strength * away - column * away[rows, worst][:, None]
        matrices = np.where(
            off[:, None, None], matrices - column[:, :, None] * (column / strength[rows, worst][:, None])[:, None, :], matrices
        )
        left[rows[off], worst[off]] = True
        judged = off[:, None] & ~left
        strength = np.where(judged, np.einsum("bcc->bc", matrices), 1.0)
        away = np.where(judged, products / strength, away)
        squares = np.where(judged, away**2 * strength, squares)
    return squares, away
