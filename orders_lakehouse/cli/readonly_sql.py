"""Check that a text is one query over tables of the lake, because Polars has no read-only mode."""

import logging
import re

from orders_lakehouse.errors import ExpectedError

# Polars' functions that read files. They are refused anywhere in the text, also in comments and strings, because two
# parsers may disagree where these end.
_FILE_FUNCTION = re.compile(r"\b(?:read|scan)_(?:csv|parquet|ipc|json|ndjson|avro|delta|iceberg|excel|lines)", re.I)
_EXPECTED = "expected one query: select ..."


class QueryError(ExpectedError):
    """A query that cannot be answered."""


def check(query: str) -> None:
    """Check that a text is one query that reads only tables by their names.

    Raises:
        QueryError: It is another statement, or several statements, or reads a file.
    """
    import sqlglot
    from sqlglot import expressions

    file_function = _FILE_FUNCTION.search(query)
    if file_function:
        raise QueryError(f"{file_function[0]} reads a file; expected tables of the lake, by their names")
    # sqlglot also logs what it cannot parse, so its log is silenced.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        statements = [statement for statement in sqlglot.parse(query, read="postgres") if statement is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise QueryError(f"found {_first_problem(error)}; {_EXPECTED}") from None
    if len(statements) != 1:
        raise QueryError(f"found {len(statements)} statements; {_EXPECTED}")
    (statement,) = statements
    changes = (expressions.DML, expressions.DDL, expressions.Into, expressions.Command)
    is_query = isinstance(statement, expressions.Query | expressions.Values)
    # In sqlglot a select is a subclass of DDL, so queries are excluded.
    changed = next((node for node in statement.walk() if isinstance(node, changes) and not _is_query(node)), None)
    if not is_query or changed is not None:
        raise QueryError(f"tables are read here, not changed; {_EXPECTED}")
    for table in statement.find_all(expressions.Table):
        if not isinstance(table.this, expressions.Identifier):
            raise QueryError(f"{table.sql()} is no table; expected tables of the lake, by their names")


def _is_query(node: object) -> bool:
    from sqlglot import expressions

    return isinstance(node, expressions.Query | expressions.Values)


def _first_problem(error: Exception) -> str:
    """Return the first line of a parser's error, without terminal codes."""
    line = str(error).strip().partition("\n")[0] or "a query too deep to read"
    return re.sub(r"\x1b\[\d*m", "", line).rstrip(".")
