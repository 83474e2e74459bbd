"""Panel <-> one Parquet file (unique_id, ds, y, both kinds of covariates) whose metadata hold the rest of the panel.

The panel was checked before it was written, so reading trusts the file; equal panels give equal bytes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from pipelines.files import written_aside
from tsforecast.panel import Panel

KEY = b"tsforecast.panel"


def write_panel(panel: Panel, path: Path) -> str:
    """Write `panel` aside and rename; return the SHA-256 of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {
        "series_ids": panel.series_ids,
        "lengths": panel.lengths.tolist(),
        "freq": panel.freq,
        "season": panel.season,
        "tz": panel.tz,
        "covariate_names": panel.covariate_names,
        "past_covariate_names": panel.past_covariate_names,
        "static_real_names": panel.static_real_names,
        "static_reals": None if panel.static_reals is None else panel.static_reals.tolist(),
        "static_category_names": panel.static_category_names,
        "static_categories": panel.static_categories,
        **({"zones": panel.zones} if panel.zones else {}),
    }
    ids = pa.DictionaryArray.from_arrays(
        np.repeat(np.arange(len(panel), dtype=np.int32), panel.lengths), pa.array(panel.series_ids, pa.string())
    )
    columns = {"unique_id": ids, "ds": pa.array(panel.timestamps), "y": pa.array(panel.target)}
    for names, values in (
        (panel.covariate_names, panel.covariates),
        (panel.past_covariate_names, panel.past_covariates),
    ):
        for i, name in enumerate(names):
            columns[name] = pa.array(values[:, i])  # type: ignore[index]  # names mean that there are values
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about).encode()})
    with written_aside(path) as aside:
        pq.write_table(table, aside)
        return hashlib.sha256(aside.read_bytes()).hexdigest()


def read_panel(path: Path) -> Panel:
    """The panel that `write_panel` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[KEY])
    known, past = tuple(about["covariate_names"]), tuple(about.get("past_covariate_names", ()))  # files of 1.0 end with known
    reals = about.get("static_reals")
    timestamps = table["ds"].to_numpy()
    return Panel(
        series_ids=tuple(about["series_ids"]),
        offsets=np.concatenate([[0], np.cumsum(about["lengths"])]).astype(np.int64),
        timestamps=timestamps.astype(np.int64 if isinstance(about["freq"], int) else "datetime64[ns]"),
        target=table["y"].to_numpy().astype(np.float64),
        freq=about["freq"],
        season=about["season"],
        tz=about["tz"],
        zones=tuple(about.get("zones", ())),
        covariates=np.column_stack([table[name].to_numpy() for name in known]) if known else None,
        covariate_names=known,
        past_covariates=np.column_stack([table[name].to_numpy() for name in past]) if past else None,
        past_covariate_names=past,
        static_reals=None if reals is None else np.array(reals, dtype=np.float64),
        static_real_names=tuple(about.get("static_real_names", ())),
        static_categories=tuple(map(tuple, about.get("static_categories", ()))),
        static_category_names=tuple(about.get("static_category_names", ())),
    )
