"""The tables of repairs, features, transforms and augmentations -> what each does and what its options mean, for a person."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from inspect import getdoc
from typing import Any, ClassVar, get_type_hints

from tsforecast.models.describe import field_words, markdown_table
from tsforecast.nn.augmentations import AUGMENTATIONS
from tsforecast.preprocessing.features import FEATURES
from tsforecast.preprocessing.repairs import REPAIRS
from tsforecast.preprocessing.transforms import TRANSFORMS

TABLES: dict[str, Mapping[str, type]] = {  # key of a recipe -> the kinds it takes
    "repairs": REPAIRS,
    "features": FEATURES,
    "steps": TRANSFORMS,
    "augment": AUGMENTATIONS,
}


def options_of(kind: type) -> dict[str, tuple[str, str]]:
    """Option -> (default as a recipe writes it, "" = must be given; what it means)."""
    words, found = field_words(kind), {}
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.name == "name" or hints.get(one.name) is ClassVar:
            continue
        default = one.default if one.default is not MISSING else ("" if one.default_factory is MISSING else one.default_factory())
        found[one.name] = ("" if default is MISSING or default == "" else _shown(default), words.get(one.name, ""))
    return found


def text_of(table: str) -> str:
    """Name, what it does and the options of each kind, indented."""
    lines = [f"[[{table}]]" if table != "augment" else "train.augment"]
    for name, kind in TABLES[table].items():
        lines.append(f"  {name}: {summary_of(kind)}")
        for option, (default, words) in options_of(kind).items():
            lines.append(f"      {option}" + (f" = {default}" if default else "") + (f"   {words}" if words else ""))
    return "\n".join(lines)


def markdown_of(table: str) -> str:
    """One row for each kind."""
    rows = []
    for name, kind in TABLES[table].items():
        options = "<br>".join(_option(option, default, words) for option, (default, words) in options_of(kind).items())
        rows.append([f"`{name}`", (getdoc(kind) or "").replace("\n\n", "<br>").replace("\n", " "), options])
    return markdown_table(("name", "what it does", "options with their defaults"), rows)


def blocks() -> Iterator[tuple[str, str]]:
    """(name of a block of docs/steps.md, its text)."""
    for table in TABLES:
        yield table, markdown_of(table)


def summary_of(kind: type) -> str:
    """The first paragraph of its docstring."""
    return (getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _option(option: str, default: str, words: str) -> str:
    return f"`{option}{f' = {default}' if default else ''}`{f': {words}' if words else ''}"


def _shown(value: Any) -> str:
    """As TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    return "none" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
