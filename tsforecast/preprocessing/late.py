"""A table name -> class of which some classes are imported only when asked for: those that lie in a layer above."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

Kind = TypeVar("Kind")


class LateTable(Mapping[str, type[Kind]]):
    """Classes by name: `now` as they are, then `later` as "module:Class"."""

    def __init__(self, now: Mapping[str, type[Kind]], later: Mapping[str, str]) -> None:
        self._now, self._later = dict(now), dict(later)

    def __getitem__(self, name: str) -> type[Kind]:
        if name in self._now:
            return self._now[name]
        module, _, attribute = self._later[name].partition(":")
        found: type[Kind] = getattr(import_module(module), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._now or name in self._later

    def __iter__(self) -> Iterator[str]:
        yield from self._now
        yield from self._later

    def __len__(self) -> int:
        return len(self._now) + len(self._later)
