"""One file per model; `registry.py` is the table."""
