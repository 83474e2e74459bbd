"""A parsed TOML table + a dataclass -> an instance of it, or an error that names the key and the file.

The dataclass is the schema: field names are the keys, annotations the types, `__post_init__` the ranges.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tsforecast.errors import ForecastError, RecipeError

T = TypeVar("T")
REST = "rest"
WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def rest() -> Any:
    """The field of a schema that takes the keys that are no field."""
    return field(default_factory=dict, metadata={REST: True})


def read_table(schema: type[T], table: Mapping[str, Any], *, file: str, at: str = "", root: type | None = None) -> T:
    """The instance of `schema` that `table` describes.

    Args:
        schema: a dataclass; its fields may be str, int, float, bool, Literal, `X | None`, `X | Y`, tuples of these,
            dataclasses, tuples of dataclasses, unions of dataclasses that a field `name: Literal[…]` tells apart, and
            `Mapping[str, Any]` for a table that somebody else checks; one field made by `rest()` takes all keys that are no
            field, for somebody else to check.
        table: as `tomllib` reads it.
        file: named in each message.
        at: key path of the table, "" for the whole file.
        root: schema of the whole file, where a misplaced key is looked for; None = `schema`.

    Raises:
        RecipeError: a key is unknown or missing, or a value has the wrong type or lies out of range.
    """
    root = root or schema
    known = {field.name: field for field in fields(schema)}  # type: ignore[arg-type]  # schemas are dataclasses
    takes_rest = [known.pop(name).name for name, one in list(known.items()) if REST in one.metadata]
    others = {key: value for key, value in table.items() if key not in known}
    if others and not takes_rest:
        raise _unknown_key(next(iter(others)), at, list(known), root, file)
    hints = get_type_hints(schema)
    values = {key: _read(hints[key], table[key], file=file, at=_join(at, key), root=root) for key in known if key in table}
    values |= dict.fromkeys(takes_rest, others)
    for key, one in known.items():
        if key not in table and _is_required(one):
            path = _join(at, key)
            raise RecipeError(f"{file}: {path} is missing, it must be {_words(hints[key])}", field=path)
    try:
        return schema(**values)
    except ForecastError as error:  # a range, found by __post_init__
        own = at.rpartition(".")[2]  # a class that is used elsewhere too may say its own name: "train.patience"
        path = _join(at, (error.field or "").removeprefix(f"{own or 'train'}."))
        raise RecipeError(f"{file}: {_in_place(str(error), error.field, path)}", field=path) from error


def _in_place(message: str, field: str | None, path: str) -> str:
    """The message of a `__post_init__`, which knows only its own field, with the whole key path in it."""
    return path + message.removeprefix(field) if field and message.startswith(field) else f"{path}: {message}"


def _read(hint: Any, value: Any, *, file: str, at: str, root: type) -> Any:
    """`value` as the type `hint` says."""
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(value, Mapping):
        return read_table(hint, value, file=file, at=at, root=root)  # type: ignore[arg-type]  # a class, not an instance
    if origin in (Union, UnionType):
        choices = [choice for choice in get_args(hint) if choice is not NoneType]
        if isinstance(value, Mapping) and len(choices) > 1 and all(map(is_dataclass, choices)):
            return read_table(_named(choices, value, file=file, at=at), value, file=file, at=at, root=root)
        fitting = [choice for choice in choices if _fits(choice, value)]
        if fitting or len(choices) == 1:
            return _read((fitting or choices)[0], value, file=file, at=at, root=root)
    if origin is tuple and isinstance(value, list):
        item = get_args(hint)[0]
        return tuple(_read(item, one, file=file, at=f"{at}[{i}]", root=root) for i, one in enumerate(value))
    if not _fits(hint, value):
        raise RecipeError(f"{file}: {at} must be {_words(hint)}, got {_got(value)}", field=at)
    if hint is float:
        return float(value)
    return dict(value) if isinstance(value, Mapping) else value


def _named(choices: list[Any], table: Mapping[str, Any], *, file: str, at: str) -> Any:
    """The one of several dataclasses whose name stands in the table."""
    known = {get_args(get_type_hints(choice)["name"])[0]: choice for choice in choices}
    name, path = table.get("name"), _join(at, "name")
    if name is None:
        raise RecipeError(f"{file}: {path} is missing, it must be one of {', '.join(map(repr, known))}", field=path)
    if not isinstance(name, str) or name not in known:
        near = get_close_matches(str(name), list(known), n=1, cutoff=0.0)[0]
        message = f"must be one of {', '.join(map(repr, known))}, got {_got(name)}; the nearest is {near!r}"
        raise RecipeError(f"{file}: {path} {message}", field=path)
    return known[name]


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint) and isinstance(value, str)
    if get_origin(hint) is tuple:
        return isinstance(value, list)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(choice, value) for choice in get_args(hint))
    if is_dataclass(hint) or get_origin(hint) is not None:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    """What `hint` asks for, in words."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(choice) for choice in get_args(hint) if choice is not NoneType))
    if get_origin(hint) is tuple:
        return f"a list, each item {_words(get_args(hint)[0])}"
    return WORDS.get(hint, "a table")


def _got(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    kind = next((words for kind, words in WORDS.items() if type(value) is kind), type(value).__name__)
    return f"{kind}: {value!r}"


def _unknown_key(key: str, at: str, known: list[str], root: type, file: str) -> RecipeError:
    """Names the nearest key: the same word in another table, else the most similar word in this one."""
    path = _join(at, key)
    here = re.sub(r"\[\d+\]", "[]", path)  # known there for a table of another name, which is no help
    elsewhere = [one for one in _paths(root) if one.split(".")[-1] == key and one != here]
    near = elsewhere[0] if elsewhere else _join(at, get_close_matches(key, known, n=1, cutoff=0.0)[0])
    return RecipeError(
        f"{file}: unknown key {path!r}; the nearest known key is {near!r} (known here: {', '.join(known)})", field=path
    )


def _paths(schema: Any, at: str = "") -> list[str]:
    """Every key path of a schema; tables in a list are written `models[].name`."""
    found = []
    for name, hint in get_type_hints(schema).items():
        item = get_args(hint)[0] if get_origin(hint) is tuple else hint
        options = [one for one in (get_args(item) or (item,)) if is_dataclass(one)]
        path = _join(at, name) + ("[]" if item is not hint and options else "")
        found += [deeper for one in options for deeper in _paths(one, path)] or [path]
    return found


def _is_required(one: "Field[Any]") -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at and key else at or key
