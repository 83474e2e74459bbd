"""A source -> raw frame (unique_id, ds, y, its other columns) and static frame, and a forecast frame -> a sink.

SQLAlchemy is imported here only, and only when a recipe says kind = "sql".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.as_of import parse_times, slug
from pipelines.column_names import own_names
from pipelines.column_types import typed_column
from pipelines.environment import Environment
from pipelines.files import written_aside
from pipelines.recipe import Sink, Source
from tsforecast.errors import DataError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

NOT_A_VALUE = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "#N/A")  # in CSV, except in the id column


def read_source(source: Source, *, folder: Path, environment: Environment) -> "pd.DataFrame":
    """The rows of `source`: columns unique_id, ds, y, and those that the recipe names beside them, under these names.

    Args:
        source: as in the recipe.
        folder: where relative paths begin.
        environment: fills ${NAME} in the URL.

    Raises:
        DataError: the source cannot be read.
        SchemaError: a column is missing.
        RecipeError: an environment variable is not set.
    """
    if source.kind == "dataset":
        from tsforecast import datasets

        name = str(source.name)
        frame = datasets.load_benchmark(name) if name in datasets.BENCHMARKS else datasets.load(name)
    elif source.kind == "sql":
        frame = _read_sql(source, environment)
    else:
        frame = read_frame(folder / str(source.path), kind=source.kind, id_col=source.id)
    named = _named(frame, source)
    if source.label is None:
        return named
    return named.assign(**{source.label: typed_column(named, source.label, "boolean")})


def read_timed(source: Source, *, folder: Path, environment: Environment) -> "pd.DataFrame":
    """`read_source` with texts in ds turned into timestamps.

    Raises:
        DataError: as `read_source`, or a text is no timestamp.
    """
    frame = read_source(source, folder=folder, environment=environment)
    with own_names(source):
        return parse_times(frame, "ds")


def read_static(source: Source, *, folder: Path) -> "pd.DataFrame | tuple[str, ...] | None":
    """What `panel_from_frame` takes as `static`: the rows of static_path, or names of columns of the source.

    Raises:
        DataError: the file cannot be read.
        SchemaError: a column is missing.
    """
    if source.static_path is None:
        return source.static_columns or None
    frame = read_frame(folder / source.static_path, id_col=source.id, field="source.static_path")
    if source.series is not None and source.id not in frame.columns:
        frame = frame.assign(**{source.id: source.series})
    columns = [source.id, *(source.static_columns or (name for name in frame.columns if name != source.id))]
    for column in columns:
        if column not in frame.columns:
            field = "source.id" if column == source.id else "source.static_columns"
            has = ", ".join(map(str, frame.columns))
            raise SchemaError(f"{source.static_path} has no column {column!r} ({field}); it has {has}", field=field)
    read = frame[columns].rename(columns={source.id: "unique_id"})
    return read.assign(**{name: typed_column(read, name, kind) for name, kind in source.types.items() if name in read})


def kind_of(path: Path) -> str:
    """Parquet for names that end in .parquet or .pq, CSV for all others."""
    return "parquet" if path.suffix.lower() in (".parquet", ".pq") else "csv"


def read_frame(path: Path, *, kind: str | None = None, id_col: str = "unique_id", field: str = "source.path") -> "pd.DataFrame":
    """A CSV or Parquet file as it is; `kind` None = by the end of its name. Ids stay text: "007" and "NA" are series.

    Raises:
        DataError: no such file, or it is not what its kind says.
    """
    import pandas as pd

    kind = kind or kind_of(path)
    try:
        if kind == "parquet":
            return pd.read_parquet(path)
        header = list(pd.read_csv(path, nrows=0).columns)
        empty = {column: list(NOT_A_VALUE) for column in header if column != id_col}
        return pd.read_csv(
            path, dtype={id_col: str}, keep_default_na=False, na_values=empty, float_precision="round_trip", low_memory=False
        )
    except (OSError, ValueError) as error:  # pandas and pyarrow raise these for all that can be wrong with a file
        why = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(f"{path} cannot be read as {kind}: {why}", field=field) from error


def write_frame(frame: "pd.DataFrame", path: Path, *, kind: str | None = None) -> Path:
    """Write `frame` aside and rename; `kind` None = by the end of the name. Equal frames give equal bytes.

    A Parquet column has one zone: moments of several are written in UTC there, and each in its own zone as CSV.
    """
    with written_aside(path) as aside:
        if (kind or kind_of(path)) == "csv":
            frame.to_csv(aside, index=False)
        else:
            _in_one_zone(frame).to_parquet(aside, index=False)
    return path


def _in_one_zone(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with its columns of zoned Python objects in UTC."""
    import pandas as pd

    zoned = [
        name
        for name, dtype in frame.dtypes.items()
        if dtype.kind == "O" and len(frame) and getattr(frame[name].iloc[0], "tzinfo", None) is not None
    ]
    return frame.assign(**{str(name): pd.to_datetime(frame[name], utc=True) for name in zoned})


def write_sink(
    sink: Sink, frame: "pd.DataFrame", *, recipe: str, as_of: str, model: str, folder: Path, environment: Environment
) -> str:
    """Send a forecast frame (unique_id, ds, one column per level) to `sink`; return where it is now, in words.

    Files hold the frame as it is. A table holds one row per (series, step, level) with the columns recipe, as_of, model,
    unique_id, ds, quantile_level, value; rows of the same recipe and as_of are replaced, in one transaction.

    Raises:
        DataError: the sink cannot be written.
        RecipeError: an environment variable is not set.
    """
    if sink.kind == "sql":
        return _write_sql(sink, frame, recipe=recipe, as_of=as_of, model=model, environment=environment)
    path = folder / str(sink.path).replace("{recipe}", recipe).replace("{as_of}", slug(as_of))
    try:
        write_frame(frame, path, kind=sink.kind)
    except OSError as error:
        raise DataError(f"sink.path {path} cannot be written: {error.strerror or error}", field="sink.path") from error
    return str(path)


def _named(frame: "pd.DataFrame", source: Source) -> "pd.DataFrame":
    """`frame` with our column names and no other columns."""
    beside = dict.fromkeys(source.covariates, "covariates") | dict.fromkeys(source.past_covariates, "past_covariates")
    beside |= {} if source.label is None else {source.label: "label"}
    if source.static_path is None:
        beside |= dict.fromkeys(source.static_columns, "static_columns")
    wanted = {source.id: "unique_id", source.time: "ds", source.target: "y"} | {name: name for name in beside}
    if source.series is not None:
        frame = frame.assign(**{source.id: source.series})
    fields = beside | {source.id: "id", source.time: "time", source.target: "target"}
    for column in wanted:
        if column not in frame.columns:
            field = f"source.{fields[column]}"
            way_out = "; for a file with one series and no id column, set source.series" if field == "source.id" else ""
            columns = ", ".join(map(str, frame.columns))
            raise SchemaError(f"the source has no column {column!r} ({field}); it has {columns}{way_out}", field=field)
    return frame[list(wanted)].rename(columns=wanted)


@contextmanager
def _database(url: str, *, field: str, environment: Environment) -> Iterator["sa.Connection"]:
    """One transaction; its errors come without passwords, and without the chain that may show one."""
    import sqlalchemy as sa

    filled = environment.fill(url, field=field)
    try:
        engine = sa.create_engine(filled, poolclass=sa.NullPool, hide_parameters=True)
        with engine.begin() as connection:
            yield connection
    except (sa.exc.SQLAlchemyError, OSError, ValueError) as error:  # of the driver, of pandas, of the URL's port
        message = str(getattr(error, "orig", None) or error).split("\n")[0]
    except ModuleNotFoundError as error:
        message = f"the driver is not installed; install the Python package {error.name}"
    else:
        return
    raise DataError(f"{environment.hide(url)}: {environment.hide(message)}", field=field)


def _read_sql(source: Source, environment: Environment) -> "pd.DataFrame":
    import pandas as pd
    import sqlalchemy as sa

    with _database(str(source.url), field="source.url", environment=environment) as connection:
        return pd.read_sql_query(sa.text(str(source.query)), connection)


def _write_sql(sink: Sink, frame: "pd.DataFrame", *, recipe: str, as_of: str, model: str, environment: Environment) -> str:
    rows = _long(frame).assign(recipe=recipe, as_of=as_of, model=model)
    with _database(str(sink.url), field="sink.url", environment=environment) as connection:
        table = _forecast_table(str(sink.table), integer_clock=rows["ds"].dtype.kind == "i")
        table.create(connection, checkfirst=True)
        connection.execute(table.delete().where(table.c.recipe == recipe, table.c.as_of == as_of))
        connection.execute(table.insert(), [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")])
    return f"table {sink.table} of {sink.url}"


def _forecast_table(name: str, *, integer_clock: bool) -> "sa.Table":
    import sqlalchemy as sa

    schema, _, name = name.rpartition(".")
    moment: Any = sa.BigInteger() if integer_clock else sa.DateTime()
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("recipe", sa.String(255), nullable=False, index=True),
        sa.Column("as_of", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("unique_id", sa.String(255), nullable=False),
        sa.Column("ds", moment, nullable=False),  # zoned series: UTC
        sa.Column("quantile_level", sa.Double(), nullable=False),
        sa.Column("value", sa.Double()),
        schema=schema or None,
    )


def _long(frame: "pd.DataFrame") -> "pd.DataFrame":
    """One row per (series, step, level)."""
    import pandas as pd

    long = frame.melt(id_vars=["unique_id", "ds"], var_name="quantile_level", value_name="value")
    long["quantile_level"] = long["quantile_level"].astype(float)
    long = _in_one_zone(long)
    if isinstance(long["ds"].dtype, pd.DatetimeTZDtype):
        long["ds"] = long["ds"].dt.tz_convert("UTC").dt.tz_localize(None)
    return long.sort_values(["unique_id", "ds", "quantile_level"], kind="stable", ignore_index=True)
