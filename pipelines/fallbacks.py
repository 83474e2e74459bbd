"""Series that something else than the model forecast -> a table, and a line that says so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.forecast import Forecast

SHOWN = 3  # series named in a line


def fallbacks_frame(fallbacks: Sequence[tuple[str, str]]) -> "pd.DataFrame":
    """One row per series: unique_id, reason."""
    import pandas as pd

    return pd.DataFrame(list(fallbacks), columns=["unique_id", "reason"])


def fallback_line(forecast: "Forecast") -> str:
    """How many series were not forecast by the model, and why the first of them; "" = all were."""
    fallbacks = forecast.fallbacks
    if not fallbacks:
        return ""
    told = "; ".join(f"{series_id!r}: {words}" for series_id, words in fallbacks[:SHOWN])
    more = f"; and {len(fallbacks) - SHOWN} more" if len(fallbacks) > SHOWN else ""
    return f"{len(fallbacks)} of {len(forecast)} series by fallback: {told}{more}"
