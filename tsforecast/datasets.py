"""A name -> a long frame (unique_id, ds, y): real series that come with statsmodels, and benchmark files from a folder.

Nothing is downloaded. Benchmark files are looked for in the folder that the environment variable TSF_DATA_DIR names, and
have to be the very files whose SHA-256 stands in the table below, so that two scores of one set are scores of the same data.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsforecast.errors import DataError, OptionError

if TYPE_CHECKING:
    import pandas as pd

DATA_DIR = "TSF_DATA_DIR"
MACRO_SERIES = ("realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "pop", "unemp")  # the positive ones
M4_SOURCE = "the M4 organisers' repository, github.com/Mcompetitions/M4-methods"
M3_SOURCE = "the R package Mcomp, github.com/cran/Mcomp"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark set: files `<folder>/<name>/<split>.parquet`, test following train (or val, where there is one)."""

    title: str
    source: str
    horizon: int  # steps of the test part; etth1: of each of many windows in it
    season: int  # steps, as the competition scores it (MASE, Naive2): 1 = none
    sha256: Mapping[str, str]  # split -> checksum of its file


def load(name: str) -> "pd.DataFrame":
    """A data set that comes with statsmodels, as a long frame (unique_id, ds, y).

    "co2_weekly": atmospheric CO2 at Mauna Loa in ppm, 1958-2001, one series, weeks ending on Saturday; 59 weeks without a
    measurement are rows with y = NaN. "macro_quarterly": nine series of the US economy, 1959-2009, stamped with the first day
    of the quarter.

    Raises:
        OptionError: no data set of that name.
    """
    if name in BENCHMARKS:
        raise OptionError(
            f"{name!r} is a benchmark with a train and a test part; use load_benchmark({name!r}, 'train')", field="name"
        )
    if name not in BUILT_IN:
        raise OptionError(f"no data set {name!r}; there are {', '.join(BUILT_IN)}", field="name")
    return BUILT_IN[name]()


def load_benchmark(name: str, split: str = "train", *, folder: str | os.PathLike[str] | None = None) -> "pd.DataFrame":
    """One part of a benchmark set, as a long frame (unique_id, ds, y, and stallion's covariates).

    ds are integer steps in M4 and M3, else timestamps; a part goes on where the one before it ends.

    Args:
        split: "train" | "test" | "published_forecasts" (M4, M3: unique_id, ds of test, one column per published method) |
            "val" (etth1: between train and test).
        folder: where the sets are, None = the environment variable TSF_DATA_DIR.

    Raises:
        OptionError: no set or no part of that name.
        DataError: no folder is set, the file is missing, or it is not the file whose checksum is known.
    """
    import pandas as pd

    if name not in BENCHMARKS:
        raise OptionError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}", field="name")
    benchmark = BENCHMARKS[name]
    if split not in benchmark.sha256:
        raise OptionError(f"benchmark {name!r} has no part {split!r}; there are {', '.join(benchmark.sha256)}", field="split")
    chosen = _folder(folder)
    if chosen is None:
        raise DataError(
            f"benchmark {name!r} is not part of this package; get its data from {benchmark.source}, "
            f"and set {DATA_DIR} to the folder with {name}/{split}.parquet (columns unique_id, ds, y)"
        )
    path = chosen / name / f"{split}.parquet"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); {DATA_DIR} has to name the folder with {name}/{split}.parquet, "
            f"data from {benchmark.source}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != benchmark.sha256[split]:
        raise DataError(
            f"{path} has SHA-256 {found}, benchmark {name!r} is {benchmark.sha256[split]}: scores of other data do not compare; "
            "restore the file, or read your own with pandas.read_parquet"
        )
    return pd.read_parquet(io.BytesIO(content))


def available(*, folder: str | os.PathLike[str] | None = None) -> list[str]:
    """Names that `load` knows, then those of benchmarks with a train and a test part in the folder (contents not checked)."""
    chosen = _folder(folder)
    if chosen is None:
        return list(BUILT_IN)
    there = [name for name in BENCHMARKS if all((chosen / name / f"{split}.parquet").is_file() for split in ("train", "test"))]
    return [*BUILT_IN, *there]


def _folder(folder: str | os.PathLike[str] | None) -> Path | None:
    chosen = os.environ.get(DATA_DIR) if folder is None else folder
    return Path(chosen) if chosen else None


def _co2_weekly() -> "pd.DataFrame":
    import pandas as pd
    from statsmodels.datasets import co2

    measured = co2.load_pandas().data["co2"]
    return pd.DataFrame({"unique_id": "co2", "ds": measured.index, "y": measured.to_numpy(dtype="float64")})


def _macro_quarterly() -> "pd.DataFrame":
    import numpy as np
    import pandas as pd
    from statsmodels.datasets import macrodata

    table = macrodata.load_pandas().data
    first_month = 3 * table["quarter"].astype(int) - 2
    quarters = pd.to_datetime({"year": table["year"].astype(int), "month": first_month, "day": 1})
    return pd.DataFrame(
        {
            "unique_id": np.repeat(np.array(MACRO_SERIES, dtype=object), len(table)),
            "ds": np.tile(quarters.to_numpy(), len(MACRO_SERIES)),
            "y": table[list(MACRO_SERIES)].to_numpy(dtype="float64").T.ravel(),
        }
    )


BUILT_IN = {"co2_weekly": _co2_weekly, "macro_quarterly": _macro_quarterly}

BENCHMARKS: dict[str, Benchmark] = {
    "m4_hourly": Benchmark(
        title="M4 Hourly, complete (414 series)",
        source=M4_SOURCE,
        horizon=48,
        season=24,
        sha256={
            "train": "a9e7b210e97ff91127b09f636d8b095f2cb2ba2cdb7aaf2552ca33216eb39904",
            "test": "c0fdcefd8c63c4fc1931e472fc8a920d0644c6142130a96744ead219e27faee8",
            "published_forecasts": "9f8c6d936a21dd0a103ad5e981e4ebb7307e1ebcdfed1da4cc7cf977563f4d5f",
        },
    ),
    "m4_daily": Benchmark(
        title="M4 Daily, 84 of 4,227 series",
        source=M4_SOURCE,
        horizon=14,
        season=1,
        sha256={
            "train": "2c30aad307e73489eb30e45ed3c8b0fbcfc9d699506bc5701b57c8e7789a1336",
            "test": "29c40cb3db53a78470fa967755c659a28abbeed8a26eaf8a8494c397e375d50c",
            "published_forecasts": "fa60d40b9da0ef82bb4acf311b810da1f0d2152037bf400672035ac96360b517",
        },
    ),
    "m4_weekly": Benchmark(
        title="M4 Weekly, complete (359 series)",
        source=M4_SOURCE,
        horizon=13,
        season=1,
        sha256={
            "train": "5b6b583d9ba29d85853066337c4e819dc093177315f68f8d06c7378ea9301a79",
            "test": "d52bde3737798393c111dc5c728bd9d3bb69d095ff56497cee52bea0fba214b7",
            "published_forecasts": "82d04f52b9811ef2d9d28122e944bd13979c403996def33f34405249b66aedee",
        },
    ),
    "m4_monthly": Benchmark(
        title="M4 Monthly, 200 of 48,000 series",
        source=M4_SOURCE,
        horizon=18,
        season=12,
        sha256={
            "train": "82aa442001af9157918a5c37ec898289107329cae187973074b78f9f44e4ecdb",
            "test": "296a360e70535f3a703084bd4e05dfd44cdaaaef29c97c639b0c823a417b9381",
            "published_forecasts": "0890c71fadf952918c3a745da314c65bd709658936f9ef3f7f27b0648f0ae060",
        },
    ),
    "m4_quarterly": Benchmark(
        title="M4 Quarterly, 204 of 24,000 series",
        source=M4_SOURCE,
        horizon=8,
        season=4,
        sha256={
            "train": "a539451a3ffdf39df7e0d73d44a79079f93a770d7404556826c52a1e7555e1ff",
            "test": "58b5326daaa8ddf2b9cf674299d726de26fceecd18f71623db54bdcb483d3195",
            "published_forecasts": "02d7d95ca181054ed6455aa5c37f1e05f3cccf90b0b9f39a7ea987241b8d24e7",
        },
    ),
    "m4_yearly": Benchmark(
        title="M4 Yearly, 2,000 of 23,000 series",
        source=M4_SOURCE,
        horizon=6,
        season=1,
        sha256={
            "train": "1eb96758bdae2a5f2c917fc55c938f020344e5cb9ae2fcfb319eef2f754b8a3d",
            "test": "7713e2c8a71bd7f9e6a04203e43764aa83b20a3b1f39e037100dc85b4ba8d3d6",
            "published_forecasts": "b49134ab4211fc8b4ebf0f6a71d394d2d6be4cd4e49d254296c755fd3c72c01c",
        },
    ),
    "m3_monthly": Benchmark(
        title="M3 Monthly, complete (1,428 series)",
        source=M3_SOURCE,
        horizon=18,
        season=12,
        sha256={
            "train": "906afaefc845d0925d36f66258500f1ea75aea870c803d6e171c972fd08d4c23",
            "test": "989cefd58597f4ba3160722bd051e82f4736dbcb2b78e1f6cf8b2e827e58c289",
            "published_forecasts": "d61c06d724b3c91c492eab7d0f07cc850048b87d51da4d272d09ecb29c6a9d23",
        },
    ),
    "m3_quarterly": Benchmark(
        title="M3 Quarterly, complete (756 series)",
        source=M3_SOURCE,
        horizon=8,
        season=4,
        sha256={
            "train": "c04db7a8172cff323533fdcde3103672f91e2e0a23cc1cf77a1b48621cb2fddf",
            "test": "98eb6f466275ab39783d67a2d416ac479e60aaaeb23f731e17697d49920586ec",
            "published_forecasts": "87603de3a27a94a0ac6f9fe8daafb7388dee208513326edc6d935e418950616e",
        },
    ),
    "m3_yearly": Benchmark(
        title="M3 Yearly, complete (645 series)",
        source=M3_SOURCE,
        horizon=6,
        season=1,
        sha256={
            "train": "8f028ed03e988a9a595dad8f5f8060582037879cfc832720560a886ab8b597bb",
            "test": "f03bf3ace0f11e92376f5b054084574405bd32f3fac0e880068d63e6be758125",
            "published_forecasts": "53297977bad3a743e2fd09f79b71f27c6f07fc5768d83c316e13cacc107698d4",
        },
    ),
    "m3_other": Benchmark(
        title="M3 Other, complete (174 series)",
        source=M3_SOURCE,
        horizon=8,
        season=1,
        sha256={
            "train": "a4cccac0048ee620e8912ba746df261ad2613f7af7dc941c02a97cfce82f2cd9",
            "test": "5db791fbf082d24e6223b864c09e7c8fcdde860ed7dc5299ddfe36992bc52001",
            "published_forecasts": "90425f944a4ee1470e41bb21161923577ec4d5bd5e40c07c61f77fab824a8a9e",
        },
    ),
    "etth1": Benchmark(
        title="ETTh1, 7 channels of a transformer",
        source="github.com/zhouhaoyi/ETDataset",
        horizon=96,
        season=24,
        sha256={
            "train": "c4d82c42824cf301df3b985992a76450dd2b9f2d03d96c35242f01a4ec5232a9",
            "val": "a5923f33617265297225984016496330ffdea795d7796ce1678c5c1889ff0341",
            "test": "4a5ae93fa76f2a1ecdf810b6dd16d8c6cd25951e73ac6d726383516c247382f2",
        },
    ),
    "stallion": Benchmark(
        title="Stallion, monthly volume of 350 agencies and products",
        source="github.com/sktime/pytorch-forecasting, examples/data/stallion.parquet",
        horizon=6,
        season=12,
        sha256={
            "train": "945b5fb3a31f49f735139315956481181ce683240c03dd7e9a60e4af4c079dba",
            "test": "daf11ed7472f6571e831fd02c9bea0caca4b46f129bcf7f287df0d6d229b5b31",
        },
    ),
}
