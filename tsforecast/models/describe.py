"""A name of the registry -> what that model is and what its parameters mean, for people: the listing and the tables of docs.

Nothing is said twice: facts are those of `About`, the meaning of a parameter is the comment behind its field.
"""

import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from importlib.util import find_spec
from inspect import getdoc, getsource
from pathlib import Path
from textwrap import dedent
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tsforecast.errors import DataError
from tsforecast.models.base import About, Forecaster
from tsforecast.models.detector import Detector
from tsforecast.models.registry import MODELS, available_models, recipe_class

NO_WORDS = ("type:", "noqa", "fmt:", "pragma:")  # comments for tools
HEADS = ("model", "what it is", "family", "fit", "reads covariates", "needs", "starts from another", "sample paths", "source")

DETECTOR_HEADS = ("detector", "what it is", "family", "also can", "needs", "source")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One field of a recipe."""

    type: str
    default: Any  # as JSON has it
    words: str  # meaning and unit; "" where the source is not there to be read


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What can be said of a model without fitting it."""

    name: str
    words: str  # one sentence
    about: About
    parameters: dict[str, Parameter]

    def to_json(self) -> dict[str, Any]:
        """The facts of `about`, `words`, and `parameters`, as plain values."""
        facts = asdict(self.about) | {"covariates": list(self.about.covariates), "uses": list(self.about.uses)}
        return {"words": self.words, **facts, "parameters": {name: asdict(one) for name, one in self.parameters.items()}}


def describe(name: str) -> Description:
    """The description of the model called `name`; imports its file, but no package that this file leaves for later.

    Raises:
        UnknownModel: no model of that name.
        ModuleNotFoundError: a package that the model needs is not installed; `name` says which.
    """
    for package in sorted(_packages(_place(name))):
        if not _is_there(package):
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return _describe(recipe_class(name))


def describe_all(names: Sequence[str] | None = None) -> tuple[list[Description], dict[str, ImportError]]:
    """The models that can be used here, by default all that forecast, and why the others cannot."""
    found, missing = [], {}
    for name in available_models() if names is None else names:
        try:
            found.append(describe(name))
        except ImportError as error:
            missing[name] = error
    return found, missing


@cache
def _describe(found: type[Forecaster] | type[Detector]) -> Description:
    words = field_words(found)
    parameters = {}
    for field in fields(found):  # type: ignore[arg-type]  # every recipe is a dataclass
        default = field.default
        if default is MISSING:
            default = field.default_factory() if field.default_factory is not MISSING else None
        value = list(default) if isinstance(default, tuple) else default
        parameters[field.name] = Parameter(type=_type(field.type), default=value, words=words.get(field.name, ""))
    said = (getdoc(found) or "").partition("\n\n")[0].replace("\n", " ")
    return Description(name=found.name, words=said, about=found.about, parameters=parameters)


def field_words(found: type) -> dict[str, str]:
    """Field -> the comment behind it, in `found` or the nearest class above that has one; {} where there is no source."""
    words: dict[str, str] = {}
    for owner in reversed(found.__mro__[:-1]):
        try:
            source = dedent(getsource(owner))
            words |= _comments(source)
        except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # a frozen or a generated class
            continue
    return words


def _comments(source: str) -> dict[str, str]:
    """The same of the source of one class."""
    said: dict[int, str] = {}  # line -> comment
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.lstrip("# ").rstrip()
        if token.type == tokenize.COMMENT and text and not text.startswith(NO_WORDS):
            said[token.start[0]] = text
    words = {}
    top = ast.parse(source).body[0]
    for node in top.body if isinstance(top, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            words[node.target.id] = " ".join(said[line] for line in lines if line in said)
    return {name: text for name, text in words.items() if text}


def _place(name: str) -> Path | None:
    """The file of the model called `name`, found without running it.

    Raises:
        ModuleNotFoundError: the package it lies in is not there.
    """
    model = next((table[name].partition(":")[0] for table in MODELS.values() if name in table), None)
    if model is None:
        recipe_class(name)  # says which there are
    spec = find_spec(model or "")
    return Path(spec.origin) if spec is not None and spec.origin is not None and Path(spec.origin).is_file() else None


@cache
def _packages(file: Path | None) -> frozenset[str]:
    """Packages that a file imports, at its beginning or later."""
    nodes = _walk(ast.parse(file.read_text(encoding="utf-8"))) if file else iter(())
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def _is_there(package: str) -> bool:
    return sys.modules.get(package) is not None or find_spec(package) is not None


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of a `try`: what is imported there can be done without."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Try):
            yield from _walk(child)


def _type(annotation: Any) -> str:
    """A type as one writes it: int | None, "a" | "b"."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(json.dumps, arguments))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type, arguments))
    if arguments:
        return f"{get_origin(annotation).__name__}[{', '.join(map(_type, arguments))}]"
    if annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


# For people


def needs(error: ImportError) -> str:
    """Why a model cannot be used here, in words."""
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in ("", "tsforecast"):
        return f"needs package {package}"
    return f"cannot be imported: {error}"


def text_of_all(found: Sequence[Description], missing: dict[str, ImportError]) -> str:
    """One line a model, in columns."""
    rows = [("model", "family", "fit", "covariates", "can", "needs")]
    rows += [
        (one.name, one.about.family, one.about.scope, _kinds(one.about), _abilities(one.about), one.about.minimal_history)
        for one in found
    ]
    rows += [(name, needs(error), "", "", "", "") for name, error in missing.items()]
    wide = [max(map(len, column)) for column in zip(*rows[: len(found) + 1], strict=True)]
    wide[0] = max(len(row[0]) for row in rows)
    return "\n".join("  ".join(f"{cell:<{size}}" for cell, size in zip(row, wide, strict=True)).rstrip() for row in rows)


def text_of_one(one: Description) -> str:
    """All there is to say of a model."""
    about = one.about
    yes = {True: "yes", False: "no"}
    facts = {
        "family": about.family,
        "fit": _fit(about) if about.needs_training else f"{_fit(about)}: answers from the history it is given",
        "reads covariates": _kinds(about),
        "needs": about.minimal_history,
        "starts from another": yes[about.transfers],
        "sample paths": yes[about.samples],
        **({"also can": ", ".join(about.uses)} if about.uses else {}),
        "source": about.source,
    }
    lines = [f"{one.name}: {one.words}", "", *(f"{name:<19}  {text}" for name, text in facts.items())]
    rows = [(name, _shown(p.default), p.type, p.words) for name, p in one.parameters.items()]
    if rows:
        wide = [max(len(row[k]) for row in rows) for k in range(3)]
        lines += ["", "parameters (default, type, meaning)"]
        lines += ["  " + "  ".join([*(f"{row[k]:<{wide[k]}}" for k in range(3)), row[3]]).rstrip() for row in rows]
    return "\n".join(lines)


def markdown_of_all(found: Sequence[Description], missing: dict[str, ImportError]) -> str:
    """The table of models in the README."""
    rows = []
    for one in found:
        about = one.about
        yes = ["yes" if able else "" for able in (about.transfers, about.samples)]
        facts = [about.family, _fit(about), _kinds(about), about.minimal_history, *yes, about.source]
        rows.append([f"`{one.name}`", one.words, *facts])
    rows += [[f"`{name}`", needs(error), *[""] * (len(HEADS) - 2)] for name, error in missing.items()]
    return markdown_table(HEADS, rows)


def markdown_of_detectors(found: Sequence[Description], missing: dict[str, ImportError]) -> str:
    """The table of detectors in the README."""
    rows = [
        [f"`{one.name}`", one.words, one.about.family, ", ".join(one.about.uses), one.about.minimal_history, one.about.source]
        for one in found
    ]
    rows += [[f"`{name}`", needs(error), *[""] * (len(DETECTOR_HEADS) - 2)] for name, error in missing.items()]
    return markdown_table(DETECTOR_HEADS, rows)


def markdown_of_parameters(found: Sequence[Description]) -> str:
    """All parameters of `found`, those that mean the same in several models once."""
    owners: dict[tuple[str, str, str, str], list[str]] = {}
    for one in found:
        for name, p in one.parameters.items():
            owners.setdefault((name, p.type, _shown(p.default), p.words), []).append(one.name)
    rows = [
        [f"`{name}`", f"`{default}`", kind, words, ", ".join(models)]
        for (name, kind, default, words), models in sorted(owners.items(), key=lambda item: (-len(item[1]), item[1], item[0][0]))
    ]
    return markdown_table(("parameter", "default", "type", "meaning, unit", "of"), rows)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [list(heads), ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def write_blocks(path: Path, blocks: dict[str, str]) -> bool:
    """Put each text between `<!-- name -->` and `<!-- /name -->` of a file; whether that changed it.

    Raises:
        DataError: the file has none of these blocks, or one of them without an end.
    """
    before = text = path.read_text(encoding="utf-8")
    places = [name for name in blocks if f"<!-- {name} -->" in text]
    for name in places:
        head, _, rest = text.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition(f"<!-- /{name} -->")
        if not end:
            raise DataError(f"{path}: the block <!-- {name} --> has no end; add <!-- /{name} --> on a line of its own")
        text = f"{head}<!-- {name} -->\n{blocks[name]}\n{end}{tail}"
    if not places:
        raise DataError(f"{path} has no block to write; add <!-- {next(iter(blocks))} --> and <!-- /{next(iter(blocks))} -->")
    if text != before:
        path.write_text(text, encoding="utf-8")
    return text != before


def _fit(about: About) -> str:
    if not about.needs_training:
        return f"no training ({about.scope})"
    return {"local": "one per series (local)", "global": "one over all series (global)"}[about.scope]


def _kinds(about: About) -> str:
    return ", ".join(about.covariates) or "none"


def _abilities(about: About) -> str:
    able = {"transfer": about.transfers, "paths": about.samples, "untrained": not about.needs_training}
    return ", ".join(word for word, yes in able.items() if yes) or "-"


def _shown(default: Any) -> str:
    return "none" if default is None else json.dumps(default)
