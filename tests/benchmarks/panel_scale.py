"""Parquet folder -> Panel: time and peak memory, beside pyarrow reading the same columns and one pandas sort of them.

    python tests/benchmarks/panel_scale.py [--series 1000 10000 100000] [--length 500] [--folder /tmp/…]

Each number comes from a process of its own. Peak memory is the highest resident set of the process (VmHWM) beyond what it
has after its imports. "raw" is what the columns weigh: 8 bytes of time, 8 of y, 4 of an id's code per row, and the ids once;
"raw, texts" is what pyarrow reads without codes. Layouts: "series" (each series whole, ascending), "time" (each file a span
of time of all series, so that everything has to be sorted), "mixed" (as "series", lengths from a tenth to ten times as long,
as many rows in all). Then the larger-than-memory way: `store_panel` of the folder, and a fit and a forecast on the panel
that `open_panel` maps.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ["unique_id", "ds", "y"]
START = np.datetime64("2024-01-01", "us")
HOUR = np.timedelta64(1, "h")
FILES = 16


def write_folder(folder: Path, *, series: int, length: int, layout: str) -> None:
    """A made-up Parquet folder: hourly, y normal, ids of 13 letters."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = pa.array([f"series-{i:06d}" for i in range(series)])
    lengths = mixed_lengths(series, length, rng) if layout == "mixed" else np.full(series, length)
    for number, (codes, steps) in enumerate(rows_by_time(series, length) if layout == "time" else rows_by_series(lengths)):
        table = pa.table({"unique_id": ids.take(pa.array(codes)), "ds": START + steps * HOUR, "y": rng.normal(size=len(codes))})
        pq.write_table(table, folder / f"part-{number:03d}.parquet", row_group_size=1 << 20)


def mixed_lengths(series: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """From a tenth to ten times `length`, `length` on average, (S,)."""
    lengths = np.exp(rng.uniform(np.log(length / 10), np.log(length * 10), size=series))
    lengths = np.clip((lengths * length / lengths.mean()).astype(np.int64), length // 10, 10 * length)
    lengths[np.argsort(lengths)[series // 4 : 3 * series // 4]] += (series * length - lengths.sum()) // (series // 2)
    return lengths


def rows_by_series(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in np.array_split(np.arange(len(lengths)), FILES):
        steps = np.arange(lengths[part].sum()) - np.repeat(np.cumsum(lengths[part]) - lengths[part], lengths[part])
        yield np.repeat(part, lengths[part]), steps


def rows_by_time(series: int, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in np.array_split(np.arange(length), FILES):
        yield np.tile(np.arange(series), len(part)), np.repeat(part, series)


# What a process of its own measures


def ours(folder: str) -> dict[str, float]:
    from tsforecast.preprocessing.parquet import panel_from_parquet

    def work() -> dict[str, float]:
        panel = panel_from_parquet(folder)
        return {"series": len(panel), "rows": len(panel.target), "ids_bytes": sum(map(len, panel.series_ids))}

    return measured(work)


def reference(folder: str) -> dict[str, float]:
    """pyarrow reads, pandas sorts; turning the one into the other is not counted."""
    import pandas  # noqa: F401  # so that it is not measured

    def work() -> dict[str, float]:
        began = time.perf_counter()
        table = pq.read_table(folder, columns=COLUMNS)
        read, size = time.perf_counter() - began, table.nbytes
        frame = table.to_pandas(self_destruct=True, split_blocks=True)
        del table
        began = time.perf_counter()
        frame.sort_values(["unique_id", "ds"])
        return {"read_s": read, "sort_s": time.perf_counter() - began, "text_bytes": size}

    return measured(work)


def reference_codes(folder: str) -> dict[str, float]:
    """The same with ids that pyarrow reads as codes and pandas sorts as such: the most that could be asked of them."""
    import pandas  # noqa: F401  # so that it is not measured

    def work() -> dict[str, float]:
        began = time.perf_counter()
        table = pq.read_table(folder, columns=COLUMNS, read_dictionary=["unique_id"]).unify_dictionaries()
        read = time.perf_counter() - began
        frame = table.to_pandas(self_destruct=True, split_blocks=True)
        del table
        began = time.perf_counter()
        frame.sort_values(["unique_id", "ds"])
        return {"read_s": read, "sort_s": time.perf_counter() - began}

    return measured(work)


def store(folder: str) -> dict[str, float]:
    from tsforecast.preprocessing.stored import store_panel

    def work() -> dict[str, float]:
        store_panel(folder, f"{folder}.stored")
        return {}

    return measured(work)


def fit(folder: str) -> dict[str, float]:
    """A small network on the stored panel: one epoch, validated on a window of each series, then a forecast of all series."""
    from tsforecast.models.registry import build_model
    from tsforecast.nn.config import TrainConfig
    from tsforecast.preprocessing.stored import open_panel

    model = build_model("linear", context=48, calibrate=False)
    train = TrainConfig(max_epochs=1, steps_per_epoch=100, batch_size=256)
    panel = open_panel(f"{folder}.stored")
    few = panel.select(np.arange(5))
    model.fit(few, horizon=24, train=train).predict(few)  # what torch takes once

    def work() -> dict[str, float]:
        began, before = time.perf_counter(), memory("VmRSS")
        predictor = model.fit(panel, horizon=24, train=train)
        said = {"fit_s": time.perf_counter() - began, "fit_peak": memory("VmHWM") - before}
        began = time.perf_counter()
        forecast = predictor.predict(panel)
        return said | {"predict_s": time.perf_counter() - began, "answer": forecast.quantiles.nbytes}

    return measured(work)


CHILDREN: dict[str, Callable[[str], dict[str, float]]] = {
    function.__name__: function for function in (ours, reference, reference_codes, store, fit)
}


def measured(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `work` says, with its seconds and the memory (bytes) it took at most."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins here
    began = time.perf_counter()
    said = work()
    seconds = time.perf_counter() - began
    return said | {"seconds": seconds, "peak": memory("VmHWM") - before}


def memory(line: str) -> int:
    """VmRSS or VmHWM of this process, bytes. Of a child, ru_maxrss would begin at what its parent has."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(line):
            return 1024 * int(text.split()[1])
    raise SystemExit(f"/proc/self/status has no {line}: this measures on Linux only")


def in_a_process(name: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--child", name, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


# The tables


def panel_row(folder: Path, layout: str, *, with_reference: bool) -> str:
    mine = in_a_process("ours", folder)
    rows = mine["rows"]
    raw = 20 * rows + mine["ids_bytes"]
    cells = [layout, f"{mine['series']:,}", f"{rows:,}", f"{mine['seconds']:.2f}", f"{1e9 * mine['seconds'] / rows:.0f}"]
    cells += [f"{mine['peak'] / 1e6:.0f}", f"{mine['peak'] / rows:.1f}", f"{mine['peak'] / raw:.2f}"]
    if with_reference:
        plain, coded = in_a_process("reference", folder), in_a_process("reference_codes", folder)
        cells.append(f"{mine['peak'] / plain['text_bytes']:.2f}")
        for other in (plain, coded):
            both = other["read_s"] + other["sort_s"]
            cells.append(f"{other['read_s']:.2f} + {other['sort_s']:.2f}")
            cells.append(f"{mine['seconds'] / both:.2f}")
        cells.append(f"{plain['peak'] / 1e6:.0f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[1000, 10000, 100000])
    parser.add_argument("--length", type=int, default=500, help="rows of a series, on average")
    parser.add_argument("--layouts", nargs="+", default=["series", "time", "mixed"])
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--no-store", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="where the made-up data are written; removed at the end")
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, folder = arguments.child
        print(json.dumps(CHILDREN[name](folder)))
        return
    base = Path(tempfile.mkdtemp(prefix="panel_scale_", dir=arguments.folder))
    try:
        columns = ["layout", "series", "rows", "s", "ns/row", "peak MB", "B/row", "x raw"]
        if not arguments.no_reference:
            columns += ["x raw, texts", "read + sort, texts, s", "ratio", "read + sort, codes, s", "ratio", "its peak MB"]
        print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
        for series in arguments.series:
            for layout in arguments.layouts:
                folder = base / f"{layout}-{series}"
                write_folder(folder, series=series, length=arguments.length, layout=layout)
                print(panel_row(folder, layout, with_reference=not arguments.no_reference), flush=True)
                if not arguments.no_store and layout != "mixed":
                    stored, fitted = in_a_process("store", folder), in_a_process("fit", folder)
                    print(f"  stored in {stored['seconds']:.1f} s, peak {stored['peak'] / 1e6:.0f} MB;", end=" ")
                    print(f"its arrays have {16 * series * arguments.length / 1e6:.0f} MB;", end=" ")
                    print(f"fitted from the map in {fitted['fit_s']:.1f} s, peak {fitted['fit_peak'] / 1e6:.0f} MB;", end=" ")
                    print(f"all forecast in {fitted['predict_s']:.1f} s, peak {fitted['peak'] / 1e6:.0f} MB", end=" ")
                    print(f"(answer {fitted['answer'] / 1e6:.0f} MB)", flush=True)
                shutil.rmtree(folder)
                shutil.rmtree(f"{folder}.stored", ignore_errors=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
