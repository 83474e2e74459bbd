"""Errors about columns by the names they have within a panel -> the same errors by the names that the source has for them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.recipe import Source
from tsforecast.errors import DataError

NOT_A_COLUMN = r"(?<!series )(?<!text )(?<!is )(?<!has )"  # before the id of a series, or a value


@contextmanager
def own_names(source: Source) -> Iterator[None]:
    """Errors of the block keep their class; 'y', 'ds' and 'unique_id' in them become the columns of the source."""
    names = {"y": source.target, "ds": source.time, "unique_id": source.id}
    try:
        yield
    except DataError as error:
        pattern = rf"{NOT_A_COLUMN}'({'|'.join(names)})'"
        error.args = (re.sub(pattern, lambda found: repr(names[found[1]]), str(error)),)
        error.field = names.get(error.field or "", error.field)
        raise
