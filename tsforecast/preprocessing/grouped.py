"""Flat values (N,) and offsets (G + 1,) -> a number for each group of rows, (G,). NaN are passed over."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tsforecast.panel import FloatArray, IntArray


def seen_in(values: FloatArray, offsets: IntArray) -> IntArray:
    """How many values of each group are no NaN, (G,)."""
    return np.add.reduceat(~np.isnan(values), offsets[:-1], dtype=np.int64)


def sum_of(values: FloatArray, offsets: IntArray) -> FloatArray:
    """The sum of each group, (G,); 0 for a group without values."""
    return np.add.reduceat(np.where(np.isnan(values), 0.0, values), offsets[:-1])


def mean_of(values: FloatArray, offsets: IntArray) -> FloatArray:
    """The mean of each group, (G,); 0 for a group without values."""
    return sum_of(values, offsets) / np.maximum(seen_in(values, offsets), 1)


def least_and_most(values: FloatArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest value of each group, (G,) and (G,); NaN for a group without values."""
    return np.fmin.reduceat(values, offsets[:-1]), np.fmax.reduceat(values, offsets[:-1])


def mean_and_deviation(values: FloatArray, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each group, (G,) and (G,); 0 and 0 for a group without values."""
    lengths, count = np.diff(offsets), np.maximum(seen_in(values, offsets), 1)
    mean = sum_of(values, offsets) / count
    away = values - np.repeat(mean, lengths)
    away = np.where(np.isnan(away), 0.0, away)
    unit = np.maximum(np.maximum.reduceat(np.abs(away), offsets[:-1]), np.finfo(np.float64).tiny)  # 1e200 squared is no number
    return mean, unit * np.sqrt(np.add.reduceat((away / np.repeat(unit, lengths)) ** 2, offsets[:-1]) / count)


def quantiles_of(values: FloatArray, offsets: IntArray, levels: Sequence[float]) -> list[FloatArray]:
    """The empirical quantiles (linear between order statistics) of each group, (G,) per level; 0 for one without values."""
    ordered = values.copy()
    for start, end in pairwise(offsets.tolist()):  # ten times as fast as one sort of all rows by group and value
        ordered[start:end].sort()  # NaN last
    seen = seen_in(values, offsets)
    quantiles = []
    for level in levels:
        place = level * np.maximum(seen - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(seen - 1, 0))
        below, above = ordered[offsets[:-1] + low], ordered[offsets[:-1] + high]
        quantiles.append(np.where(seen > 0, below + (place - low) * (above - below), 0.0))
    return quantiles
