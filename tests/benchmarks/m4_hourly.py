"""Accuracy on M4 Hourly (414 series, 48 steps ahead) of a few models, printed: `accuracy.py` without its file of results.

TSF_DATA_DIR=… python tests/benchmarks/m4_hourly.py [--models gru lstm] [--seed 0] [--validation] [--option hidden=64 …]
"""

import argparse
import json
import os

from accuracy import Settings, competition, measure, options_of

from tsforecast.datasets import DATA_DIR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["seasonal_naive", "gru", "lstm"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="score the end of the training part, not the test part")
    parser.add_argument("--option", nargs="*", default=[], metavar="NAME=JSON", help="options of the models, e.g. hidden=64")
    asked = parser.parse_args()
    if not os.environ.get(DATA_DIR):
        print(f"skipped: set {DATA_DIR} to a folder that holds m4_hourly/train.parquet and test.parquet")
        return
    settings = Settings(seed=asked.seed, validation=asked.validation, options=options_of(asked.option))
    task = competition("m4_hourly", settings)
    for name in asked.models:
        print(json.dumps({"model": name} | measure(name, task, settings)), flush=True)


if __name__ == "__main__":
    main()
