"""Amounts as the shop's Postgres computes them."""

from collections.abc import Iterator, Sequence

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.encoding import UTF8, decoded
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.postgres.connections import batches, connect
from orders_lakehouse.sources.postgres.columns import SCHEMA, columns_of, require_readable
from orders_lakehouse.sources.postgres.versions import as_bytes, clamped, codec_of_bytes


def totals(entity: Entity, total: SourceTotal, decimals: Sequence[int]) -> Iterator[pl.DataFrame]:
    """Yield an amount of every row as the shop computes it; see `Source.totals`."""
    # Amounts are read as text, because a numeric of the shop may be NaN or infinite.
    rounded = "".join(f", round({total.sql}, {digits})::text AS to_{digits}" for digits in decimals)
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        require_readable(cursor, entity.raw, columns_of(cursor, [entity.raw])[entity.name])
        codec = codec_of_bytes(cursor)
        key = [_key(entity.raw, name, in_bytes=codec is not None) for name in entity.key]
        cursor.execute(
            f"SELECT {', '.join(key)}, {clamped('updated_at', 'instant')} AS updated_at{rounded} "
            f'FROM {SCHEMA}."{entity.name}"'
        )
        for batch in batches(cursor):
            rows = decoded(pl.DataFrame(batch), codec or UTF8)
            yield rows.cast({"updated_at": entity.raw.schema["updated_at"]})


def _key(raw: Table, column: str, *, in_bytes: bool) -> str:
    """Return SQL for a column of a key; text is read as bytes if the server cannot convert it to UTF-8."""
    if raw.schema[column] != pl.String:
        return f'"{column}"::bigint AS "{column}"'
    text = f'"{column}"::text'
    return f'{as_bytes(text) if in_bytes else text} AS "{column}"'
