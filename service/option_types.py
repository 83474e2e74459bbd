"""Whether the options of a request have the types that a recipe declares: those a caller may send are looked at before use."""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def misfit(recipe: type, options: dict[str, Any]) -> tuple[str, str] | None:
    """(option, the type it should have) of the first one that does not fit; None where all do. Unknown ones are passed over."""
    hints = get_type_hints(recipe)
    for name, value in options.items():
        if name in hints and not fits(value, hints[name]):
            return name, words_of(hints[name])
    return None


def fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON, lists as tuples, is of a declared type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if origin is tuple:
        if isinstance(value, dict):  # a table, where a tuple of pairs is declared
            return get_origin(inside[0]) is tuple
        if not isinstance(value, tuple):
            return False
        if len(inside) == 2 and inside[1] is Ellipsis:
            return all(fits(one, inside[0]) for one in value)
        return len(value) == len(inside) and all(fits(one, kind) for one, kind in zip(value, inside, strict=True))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (str, bool, NoneType) else True


def words_of(hint: Any) -> str:
    """The type as a recipe writes it."""
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
