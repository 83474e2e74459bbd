"""Panel -> fingerprint; checkout -> revision: where the numbers of a run come from."""

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from tsforecast.panel import Panel

UNKNOWN = "unknown"
MODEL_PACKAGES = {"prophet": ("prophet",)}  # model -> packages that only it imports


def fingerprint(panel: Panel) -> str:
    """sha256 of what the panel says, as 64 hex digits; the order of its series does not matter, everything else does."""
    order = np.argsort(np.asarray(panel.series_ids, dtype=np.str_), kind="stable")
    panel = panel.select(order)
    digest = hashlib.sha256()
    head = (panel.series_ids, panel.freq, panel.season, panel.tz, panel.covariate_names, panel.is_integer_clock)
    digest.update(repr(head).encode())
    digest.update(panel.offsets.astype("<i8").tobytes())
    clock = panel.timestamps if panel.is_integer_clock else panel.timestamps.astype("datetime64[ns]")
    digest.update(clock.astype("<i8").tobytes())
    more = (panel.past_covariate_names, panel.static_real_names, panel.static_category_names, panel.static_categories)
    if any(more):
        digest.update(repr(more).encode())
    if panel.zones:
        digest.update(repr(panel.zones).encode())
    for values in (panel.target, panel.covariates, panel.past_covariates, panel.static_reals):
        if values is not None:
            plain = np.where(np.isnan(values), np.nan, values) + 0.0  # one NaN of many bit patterns, and no minus zero
            digest.update(plain.astype("<f8").tobytes())
    return digest.hexdigest()


def git_revision(folder: str | Path | None = None) -> str:
    """Commit of the checkout that holds `folder` (default: this library), with "-dirty" if files have changed.

    "unknown" where there is no checkout, or no git.
    """
    place = Path(__file__).parent if folder is None else Path(folder)
    command = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return done.stdout.strip() if done.returncode == 0 else UNKNOWN


def software() -> dict[str, str]:
    """Versions that can change a result, by package."""
    ours = sys.modules["tsforecast"].__version__  # loaded, for this module lies in it; an import would point up
    return {"tsforecast": ours} | {name: metadata.version(name) for name in ("torch", "numpy", "pandas")}


def pip_requirements(model: str) -> list[str]:
    """What a server of the model called `model` has to install, pinned.

    Local labels such as "+cpu" are dropped: no index has them. This library is not in the list, because a package of its
    name on a public index need not be this one: the server installs it from its checkout.
    """
    names = ("numpy", "pandas", "scipy", "safetensors", "torch", *MODEL_PACKAGES.get(model, ()))
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
