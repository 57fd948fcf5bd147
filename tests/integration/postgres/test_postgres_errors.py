"""Postgres in trouble: sessions and servers that are killed, tables that somebody has locked."""

import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.defs import resources
from orders_lakehouse.postgres import connections
from orders_lakehouse.postgres.embedded import embedded_server, remove_embedded_server
from tests.support.lakehouse import SHOP_SCHEMA, Lakehouse, failures
from tests.support.late_changes import IN_THE_LAKE, SHOP
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow

RANGE = ("2017-01-01", "2017-01-09")
COPY, DIMENSION, FACT = "lake.order_lines", "marts.dim_customers", "marts.fct_orders"

# What the shell of a trap does: it is a child of the session, and begins in the folder of the server's data.
CUT_THE_SESSION = "kill -TERM $PPID"
KILL_THE_SESSION = "kill -KILL $PPID"
KILL_THE_SERVER = "kill -KILL $(head -1 postmaster.pid)"

# Springs once: in the midst of the rows that are inserted, or when a table is made in the place of the old one.
# It reads its input, or Postgres may find the pipe broken.
TRAP = """
CREATE FUNCTION public.spring_{name}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    IF (pg_stat_file('{flag}', true)).size IS NULL THEN
        COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir {flag}; (sleep 0.2; {shell}) > /dev/null 2>&1 &';
        PERFORM pg_sleep(10);
    END IF;
END $$;
CREATE FUNCTION public.spring_on_row_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.order_id = 'moves' THEN PERFORM public.spring_{name}(); END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.spring_on_table_{name}() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%dim_customers__dbt_tmp%' THEN PERFORM public.spring_{name}(); END IF;
END $$;
"""


def set_trap(url: str, relation: str, shell: str, flag: str) -> None:
    """Do something to the server, once, while a relation is written."""
    name = relation.replace(".", "_")
    script = TRAP.format(name=name, flag=flag, shell=shell)
    if relation == DIMENSION:
        script += f"CREATE EVENT TRIGGER trap ON ddl_command_end EXECUTE FUNCTION public.spring_on_table_{name}();"
    else:
        spring = f"public.spring_on_row_{name}()"
        script += f"CREATE TRIGGER trap BEFORE INSERT ON {relation} FOR EACH ROW EXECUTE FUNCTION {spring};"
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(script)
        connection.commit()


def retried(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Steps that were tried again, and the innermost cause of each."""
    found = {}
    for event in result.all_events:
        if event.is_step_up_for_retry:
            error = event.step_retry_data.error
            while error.cause is not None:
                error = error.cause
            found[str(event.step_key)] = error.message
    return found


AFTER_THE_LAKE = "group:marts"
CHANGE = "UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-09 10:00+00' WHERE order_id = 'moves'"


# The trap of a table springs at every statement that names it: that of the dimension is set last.
TRAPPED = (COPY, FACT, DIMENSION)


@pytest.mark.thorough
def test_cut_session_is_tried_again(lakehouse: Lakehouse, tmp_path: Path) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    assert lakehouse.run(*RANGE).success
    lakehouse.shop(CHANGE)
    lakehouse.oracle.look()
    for number, relation in enumerate(TRAPPED):
        set_trap(lakehouse.warehouse_url, relation, CUT_THE_SESSION, f"cut_{number}_{tmp_path.name}_{os.getpid()}")

    result = lakehouse.run(*RANGE)

    assert result.success, failures(result)
    causes = retried(result)
    assert set(causes) == {"marts"}
    cut = re.compile("terminating connection|server closed the connection")
    assert [cause for cause in causes.values() if not cut.search(cause)] == []
    assert lakehouse.wrong_marts() == {}


@pytest.fixture
def own_server() -> Iterator[Path]:
    """A home with an embedded server of its own, which may be killed."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-own-") as directory:
        home = Path(directory)
        embedded_server(home)
        yield home
        remove_embedded_server(home)


@contextmanager
def embedded(home: Path) -> Iterator[Terminal]:
    """The lakehouse of a home whose databases are both embedded, with a shop."""
    socket = quote(embedded_server(home), safe="/")
    urls = [f"postgresql://postgres@/{name}?host={socket}" for name in ("shop", "warehouse")]
    made = Terminal(home, *urls)
    looked_at = made.inspect()
    looked_at.shop(SHOP_SCHEMA)
    looked_at.oracle.install()
    looked_at.shop(SHOP)
    looked_at.oracle.look()
    # The embedded server writes what was committed within the second; one that is killed at once would lose the shop.
    with dbapi.connect(urls[0], autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    yield made


EMBEDDED = {"SHOP_DATABASE_URL": "", "WAREHOUSE_DATABASE_URL": ""}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("relation", "shell"),
    [(COPY, KILL_THE_SERVER), (DIMENSION, KILL_THE_SESSION), (FACT, KILL_THE_SERVER)],
)
def test_killed_server_is_caught_up(own_server: Path, relation: str, shell: str) -> None:
    with embedded(own_server) as terminal:
        looked_at = terminal.inspect()
        first = terminal.run("backfill", *RANGE, **EMBEDDED)
        assert first.returncode == 0, first.stderr
        looked_at.shop(CHANGE)
        looked_at.oracle.look()
        set_trap(terminal.warehouse_url, relation, shell, "trap")

        broken = terminal.run("backfill", *RANGE, **EMBEDDED)

        # The server is there again and the step is tried again. The crash has emptied what had been loaded: whatever is
        # made of it loads it first.
        assert broken.returncode == 0, broken.stderr
        assert (own_server / "postgres" / "trap").exists()
        assert "retrying" in broken.stdout
        assert "Traceback" not in broken.stderr
        assert looked_at.wrong_marts() == {}
        # No mart was made of what is empty: before the crash or after it, customers have their names.
        names = "SELECT customer_name FROM marts.dim_customers WHERE customer_name IN ('Ada', 'Bea') ORDER BY 1"
        assert looked_at.warehouse_rows(names) == [("Ada",), ("Bea",)]

        healed = terminal.run("backfill", *RANGE, **EMBEDDED)
        assert healed.returncode == 0, healed.stderr
        assert looked_at.wrong_marts() == {}
        assert looked_at.wrong_curated() == {}


def test_new_server_runs_with_its_settings(own_server: Path) -> None:
    url = f"postgresql://postgres@/warehouse?host={quote(embedded_server(own_server), safe='/')}"
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, reset_val, pending_restart FROM pg_settings")
        found = {name: (value, pending) for name, value, pending in cursor.fetchall()}
    assert [name for name, (_, pending) in found.items() if pending] == []
    switched = {"wal_level": "minimal", "synchronous_commit": "off", "fsync": "on", "data_checksums": "off"}
    expected = {**switched, "work_mem": str(64 * 1024)}
    assert {name: found[name][0] for name in expected} == expected


def test_server_that_is_gone_is_started_by_the_next_command(own_server: Path) -> None:
    with embedded(own_server) as terminal:
        pid_file = own_server / "postgres" / "postmaster.pid"
        before = int(pid_file.read_text().split()[0])
        os.kill(before, signal.SIGKILL)
        # The number of the server is somebody else's now.
        pid_file.write_text(pid_file.read_text().replace(str(before), str(os.getpid()), 1))

        done = terminal.run("backfill", *RANGE, "--job", "refresh_raw_job", **EMBEDDED)

        assert done.returncode == 0, done.stderr
        assert int(pid_file.read_text().split()[0]) not in (before, os.getpid())


@contextmanager
def locked(url: str, statement: str) -> Iterator[Any]:
    """Somebody else's transaction, open at a statement."""
    with dbapi.connect(f"{url}&application_name=migration") as connection, connection.cursor() as cursor:
        # One by one: a script would be committed by the driver.
        for one in filter(str.strip, statement.split(";")):
            cursor.execute(one)
        yield connection
        connection.rollback()


def test_locked_shop_table_is_named_with_the_lock_holder(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0.2)

    with locked(lakehouse.shop_url, "LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE"):
        result = lakehouse.run(*RANGE, select="key:raw/orders or key:raw/payments")

    assert not result.success
    (failure,) = failures(result)
    assert failure.startswith("raw__orders: ")
    assert re.search(
        r"shop.orders has AccessExclusiveLock since 20\d\d-.* UTC, held by pid \d+ "
        r"\(user postgres, application migration\): LOCK TABLE",
        failure,
    )
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 3
    assert lakehouse.run(*RANGE, select=IN_THE_LAKE).success
    assert lakehouse.wrong_curated() == {}


def test_short_migration_passes(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    with locked(lakehouse.shop_url, "LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE") as migration:
        threading.Timer(2, migration.rollback).start()
        result = lakehouse.run(*RANGE, select="key:raw/orders")
    assert result.success
    assert retried(result) == {}


# What a dbt does whose run was killed: nobody has told it, so it goes on.
REPLACED = """
CREATE TEMPORARY TABLE same AS SELECT * FROM marts.fct_orders;
DELETE FROM marts.fct_orders;
INSERT INTO marts.fct_orders SELECT * FROM same;
"""


@pytest.mark.thorough
def test_dbt_that_outlived_its_run_doubles_no_row(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    assert lakehouse.run(*RANGE).success
    with locked(lakehouse.warehouse_url, REPLACED) as outlived:
        threading.Timer(12, outlived.commit).start()
        result = lakehouse.run(*RANGE, select="key:marts/fct_orders or key:marts/fct_order_lines")
    assert result.success, failures(result)
    assert lakehouse.wrong_marts() == {}


@pytest.mark.thorough
@pytest.mark.parametrize("relation", ["lake.customers", "marts.dim_customers", FACT])
def test_long_reader_of_the_warehouse_is_named(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, relation: str
) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    assert lakehouse.run(*RANGE).success
    before = lakehouse.mart_checksums()
    lakehouse.shop("UPDATE shop.customers SET city = 'Bath', updated_at = '2017-01-09' WHERE customer_id = 'ca'")
    lakehouse.oracle.look()
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(resources, "_RETRIES", 1)

    assert lakehouse.run(*RANGE, select=IN_THE_LAKE).success

    with locked(lakehouse.warehouse_url, f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE"):
        result = lakehouse.run(*RANGE, select=AFTER_THE_LAKE)

    assert not result.success
    assert list(retried(result)) == ["marts"]
    (failure,) = failures(result)
    assert "was not released within" in failure
    assert f"{relation} has AccessExclusiveLock since" in failure
    assert "application migration" in failure
    if relation != FACT:
        after = lakehouse.mart_checksums()
        assert {mart: after[mart] for mart in ("fct_orders", "fct_order_lines")} == {
            mart: before[mart] for mart in ("fct_orders", "fct_order_lines")
        }

    monkeypatch.undo()
    assert lakehouse.run(*RANGE, select=AFTER_THE_LAKE).success
    assert lakehouse.wrong_marts() == {}
