"""A Postgres that plays Redshift: dbt, its adapter and the SQL are Redshift's, the server is not.

`python -m tests.support.redshift FILE ARGUMENT... [-- ARGUMENT...]...` runs dbt in one process, once for each group
of arguments, with the driver of Redshift replaced by that of Postgres. FILE holds what was sent, one statement in JSON
a line. The few words that Postgres does not know are made known to the database by `PLAYS`, or written otherwise.
"""

import json
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg2
import redshift_connector
import sqlglot
from psycopg2.extensions import connection, cursor
from sqlglot import exp

# Catalog tables that the adapter queries, and a function that dbt's cross-database macros call.
PLAYS = """
CREATE FUNCTION pg_get_late_binding_view_cols() RETURNS SETOF record LANGUAGE sql
    AS 'SELECT ''''::name, ''''::name, ''''::name, ''''::varchar, 0 WHERE false';
CREATE TABLE svv_external_columns (
    schemaname text, tablename text, columnname text, external_type text, columnnum integer
);
CREATE FUNCTION datediff(part text, first timestamptz, second timestamptz) RETURNS bigint LANGUAGE sql
    AS 'SELECT (extract(epoch FROM second - first) * 1000000)::bigint';
"""
_OTHERWISE = {
    r"datediff\(\s*microsecond,": "datediff('microsecond',",
    r"varchar\(max\)": "varchar",
    r"pg_catalog\.svv_external_columns": "public.svv_external_columns",
}


class _Cursor(cursor):
    """Records a statement before it runs, and returns itself as Redshift's does."""

    sent: Path

    def execute(self, query: str, parameters: Any = None) -> "_Cursor":  # type: ignore[override]
        with self.sent.open("a") as file:
            file.write(json.dumps(query) + "\n")
        for theirs, ours in _OTHERWISE.items():
            query = re.sub(theirs, ours, query)
        super().execute(query, parameters)
        return self


# Syntax of Postgres that Redshift lacks.
_ONLY_POSTGRES = re.compile(
    r"distinct on|\bfilter \(|\blateral\b|generate_series|\bunlogged\b|create (unique )?index|pg_advisory|isodow|"
    r"is (not )?distinct from|lock_timeout|share row exclusive|temporary view|collate \"|\bvalues\b|\bbit_or\b|"
    r"on conflict|returning|\bilike any|::text\b|(?<!null )as text\)"
)


def unknown_to_redshift(sql: str) -> list[str]:
    """Return the parts of a statement that Redshift does not know."""
    sql = re.sub(r"/\*.*?\*/|--[^\n]*", "", sql, flags=re.DOTALL).lower()
    found = [match.group() for match in _ONLY_POSTGRES.finditer(sql)]
    for statement in sqlglot.parse(sql, dialect="redshift"):
        if statement is not None:
            found += [f"{node.name}()" for node in statement.find_all(exp.Anonymous)]
            found += ["window" for select in statement.find_all(exp.Select) if select.args.get("windows")]
    return found


def _connect(host: str, port: int, user: str, password: str, database: str, **_: Any) -> connection:
    return psycopg2.connect(host=host, port=port, user=user, password=password, dbname=database, cursor_factory=_Cursor)


def main() -> None:
    """Run dbt."""
    from dbt.cli.main import dbtRunner

    _Cursor.sent = Path(sys.argv[1])
    redshift_connector.connect = _connect
    for between, arguments in groupby(sys.argv[2:], lambda argument: argument == "--"):
        if not between and not dbtRunner().invoke(list(arguments)).success:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
