"""Snapshots of a Postgres database as lines of text. Two snapshots are equal if everything in the database stands.

A warehouse's snapshot leaves out the tables and views that the lakehouse makes. Roles belong to each snapshot.
"""

import subprocess
from collections.abc import Collection
from urllib.parse import urlsplit

from orders_lakehouse.runtime import adbc_pool
from tests.support.lakehouse import MARTS, rows_of
from tests.support.reader import postgres_program

Snapshot = frozenset[str]

# Tables and views that the lakehouse makes. In the marts, only known names are left out: a leftover is a difference.
_OURS = ("lake.*", "staging.*", *(f"marts.{mart}" for mart in MARTS))
_IN_OURS = f"""
    SELECT c.oid FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE n.nspname IN ('lake', 'staging') OR n.nspname = 'marts' AND c.relname IN {MARTS}
"""
_IN_NOTHING = "SELECT 0::oid"
# Postgres keeps a session's temporary schema after its tables are gone.
_OF_THE_SERVER = "n.nspname ~ '^pg_(catalog|toast|temp|toast_temp)' OR n.nspname = 'information_schema'"
# Number, file, owner, grants, definition, comment and columns of each relation; indexes are relations, too.
_RELATIONS = """
    SELECT concat_ws(
        ' ', c.oid::regclass, c.relkind, c.oid, pg_relation_filenode(c.oid), c.relowner::regrole, c.relacl,
        pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class'),
        (SELECT string_agg(a::text, ' ' ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = c.oid)
    )
    FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    LEFT JOIN pg_index AS i ON c.oid = i.indexrelid
    WHERE NOT ({of_the_server}) AND coalesce(i.indrelid, c.oid) NOT IN ({left_out})
"""
_FUNCTIONS = f"""
    SELECT concat_ws(' ', p.oid::regprocedure, p::text)
    FROM pg_proc AS p INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid WHERE NOT ({_OF_THE_SERVER})
"""
_SCHEMAS = f"SELECT n::text FROM pg_namespace AS n WHERE NOT ({_OF_THE_SERVER})"
_WITH_ROWS = """
    SELECT c.oid::regclass::text, CASE c.relkind WHEN 'S' THEN 't.last_value, t.is_called' ELSE 't::text' END
    FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE NOT ({of_the_server}) AND c.oid NOT IN ({left_out}) AND c.relkind IN ('r', 'p', 'm', 'S') ORDER BY 1
"""
# A row that is written anew or locked gets another place or transaction, even if its values stay the same.
_ROWS = """
    SELECT concat_ws(' ', '{name}', count(*), md5(string_agg(
        concat_ws(' ', t.tableoid, t.ctid, t.xmin, t.xmax, {values}), E'\\n' ORDER BY t.ctid
    ))) FROM {name} AS t
"""
# pg_statistic and the counters of pg_class change whenever the server cleans or analyzes a table by itself.
_CATALOGS = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
        AND relname NOT IN ('pg_statistic', 'pg_class') ORDER BY 1
"""
_COUNTERS = ("relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid")
_CLASSES = f"SELECT 'pg_class ' || (to_jsonb(c) - '{{{','.join(_COUNTERS)}}}'::text[])::text FROM pg_class AS c"
_MART_GRANTS = f"""
    SELECT concat_ws(
        ' ', c.oid::regclass, c.oid, c.relowner::regrole, c.relacl,
        (SELECT string_agg(a.attname || a.attacl::text, ' ' ORDER BY a.attnum)
        FROM pg_attribute AS a WHERE a.attrelid = c.oid)
    )
    FROM pg_class AS c WHERE c.relnamespace = 'marts'::regnamespace AND c.relname IN {MARTS}
"""


def snapshot_of_others(url: str) -> Snapshot:
    """Take a snapshot of a warehouse without the tables and views that the lakehouse makes."""
    return _definitions(url, _OURS) | _objects(url, _IN_OURS)


def snapshot_of_everything(url: str) -> Snapshot:
    """Take a snapshot of a database with its whole catalog, in which a temporary table leaves a schema."""
    catalogs = [f"SELECT '{name} ' || t::text FROM {name} AS t" for (name,) in rows_of(url, _CATALOGS)]
    return _definitions(url, ()) | _objects(url, _IN_NOTHING) | _lines(url, *catalogs, _CLASSES)


def mart_grants(url: str) -> Snapshot:
    """Return number, owner and grants of each mart: the lakehouse replaces rows, and leaves all of these alone."""
    return _lines(url, _MART_GRANTS)


def _definitions(url: str, left_out: Collection[str]) -> Snapshot:
    """Return what pg_dump writes of the database and pg_dumpall of the roles, by statement."""
    # pg_dump writes a random key into its first line unless it is given one.
    key = "--restrict-key=none"
    excluded = [f"--exclude-table={pattern}" for pattern in left_out]
    server = url.replace(f"/{urlsplit(url).path.strip('/')}?", "/postgres?")
    commands = [
        [postgres_program("pg_dump"), "--create", "--schema-only", key, *excluded, url],
        [postgres_program("pg_dumpall"), "--globals-only", key, f"--dbname={server}"],
    ]
    statements: set[str] = set()
    for command in commands:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        statements.update(finished.stdout.split("\n\n\n"))
    return frozenset(statements)


def _objects(url: str, left_out: str) -> Snapshot:
    """Return schemas, functions and relations by number, and a checksum of the rows of each table and sequence."""
    named = {"of_the_server": _OF_THE_SERVER, "left_out": left_out}
    rows = [_ROWS.format(name=name, values=values) for name, values in rows_of(url, _WITH_ROWS.format(**named))]
    return _lines(url, _RELATIONS.format(**named), _FUNCTIONS, _SCHEMAS, *rows)


def _lines(url: str, *queries: str) -> Snapshot:
    """Return the values of queries of one column, read in one connection."""
    found: set[str] = set()
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            found.update(str(value) for (value,) in cursor.fetchall())
    return frozenset(found)
