"""A value of any column -> the word that its owner writes."""

import numpy as np


def as_word(value: object) -> str:
    """7 of 7.0 too: one hole in a column makes its whole numbers floats."""
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)
