"""What goes wrong around a lakehouse: databases that refuse, runs that are broken off, runs that meet."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.orphaned_runs import SIGNATURE
from orders_lakehouse.pipeline.row_accounting import accounts, row_count
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CLEANSED, RAW
from tests.support.lakehouse import SHOP_SCHEMA, Lakehouse, failures, not_accounted_for, rows_of
from tests.support.late_changes import SHOP
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.long]

LAKE = "group:raw or group:cleansed or group:curated"
RANGE = ("backfill", "2017-01-01", "2017-01-09")
SECRET = "s3cret"

# Makes a home, when it is told to.
PREPARE = """
from orders_lakehouse.instance.home import prepare_instance
print("ready", flush=True)
input()
prepare_instance()
"""

MISSHAPEN = """
ALTER TABLE shop.orders DROP COLUMN status;
ALTER TABLE shop.orders ALTER COLUMN ordered_at TYPE timestamp;
ALTER TABLE shop.payments ALTER COLUMN amount TYPE double precision;
"""


def locked_out(server: str) -> None:
    """Make a role that has to give its password; everybody else of the tests' server need not."""
    admin = f"postgresql://postgres@/postgres?host={quote(server, safe='/')}"
    with dbapi.connect(admin, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hba_file')")
        ((hba,),) = cursor.fetchall()
        rules = Path(hba).read_text()
        if "locked_out" not in rules:
            cursor.execute("CREATE ROLE locked_out LOGIN PASSWORD 'another'")
            Path(hba).write_text("local all locked_out scram-sha-256\n" + rules)
            cursor.execute("SELECT pg_reload_conf()")
            cursor.fetchall()
            time.sleep(1)


@pytest.fixture(scope="module")
def refused(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, postgres_url_factory: Callable[[str], str]
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Backfills of shops that cannot be read, all at once: each waits before it gives up."""
    locked_out(postgres_server)
    misshapen = postgres_url_factory("misshapen")
    with dbapi.connect(misshapen) as connection, connection.cursor() as cursor:
        cursor.executescript(SHOP_SCHEMA + MISSHAPEN)
        connection.commit()
    socket = quote(postgres_server, safe="/")
    shops = {
        "unreachable": f"postgresql://reader:{SECRET}@127.0.0.1:1/shop",
        "wrong password": f"postgresql://locked_out:{SECRET}@/postgres?host={socket}",
        "misshapen": misshapen,
    }
    terminals = {
        name: Terminal(tmp_path_factory.mktemp("home"), url, postgres_url_factory("warehouse"))
        for name, url in shops.items()
    }
    started = {name: terminal.start(*RANGE, "--job", "refresh_raw_job") for name, terminal in terminals.items()}
    return {
        name: subprocess.CompletedProcess(process.args, process.wait(), *process.communicate(timeout=120))
        for name, process in started.items()
    }


@pytest.mark.xdist_group("refused")
@pytest.mark.parametrize(
    ("shop", "said"),
    [
        ("unreachable", ["cannot be reached", "127.0.0.1", "Connection refused", "SHOP_DATABASE_URL"]),
        ("wrong password", ["refuses the connection", "locked_out", "SHOP_DATABASE_URL"]),
        (
            "misshapen",
            [
                "shop.orders does not have the columns that raw/orders needs",
                "column status: expected text",
                "found no such column",
                "column ordered_at: expected timestamptz",
                "found timestamp without time zone",
                "shop.payments does not have the columns that raw/payments needs",
                "column amount: expected numeric or an integer type, found double precision",
            ],
        ),
    ],
)
def test_shop_that_cannot_be_read_ends_with_its_cause(
    refused: dict[str, subprocess.CompletedProcess[str]], shop: str, said: list[str]
) -> None:
    done = refused[shop]
    assert done.returncode == 1
    assert [phrase for phrase in said if phrase not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.xdist_group("refused")
@pytest.mark.parametrize(("shop", "cause"), [("unreachable", "Connection refused"), ("wrong password", "locked_out")])
def test_cause_is_reported_once(refused: dict[str, subprocess.CompletedProcess[str]], shop: str, cause: str) -> None:
    assert refused[shop].stderr.count(cause) == 1


def test_repaired_shop_is_caught_up(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    lakehouse.shop("ALTER TABLE shop.order_items RENAME COLUMN quantity TO pieces")
    result = lakehouse.run("2017-01-01", "2017-01-06", select=LAKE)
    assert not result.success
    said = "column quantity: expected numeric or an integer type, found no such column"
    assert any(said in found for found in failures(result))
    assert set(lakehouse.wrong_curated()) == {"order_lines", "daily_sales", "customer_profile"}

    lakehouse.shop("ALTER TABLE shop.order_items RENAME COLUMN pieces TO quantity")
    assert lakehouse.run("2017-01-01", "2017-01-06", select=LAKE).success
    assert lakehouse.wrong_curated() == {}


def test_lake_does_not_change_its_time_zone(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    assert lakehouse.run("2017-01-01", "2017-01-06", select="group:raw").success
    before = lakehouse.raw_tables()

    moved = replace(lakehouse, lake=Lake(lakehouse.lake.url, "Asia/Tokyo"))
    result = moved.run("2017-01-01", "2017-01-06", select="group:raw")

    told = "was made with 'timezone=UTC', the setting is 'timezone=Asia/Tokyo'"
    assert [found for found in failures(result) if told not in found] == []
    assert not result.success
    assert all(rows.equals(before[path]) for path, rows in lakehouse.raw_tables().items())


def lines_until(process: "subprocess.Popen[str]", *texts: str) -> Iterator[str]:
    """Until each of the texts has been printed, in whatever order."""
    assert process.stdout is not None
    left = set(texts)
    for line in process.stdout:
        yield line
        left = {text for text in left if text not in line}
        if not left:
            return
    raise AssertionError(f"ended before {left}: {process.communicate()[1]}")


def wait_for_dbt(warehouse_url: str) -> None:
    """Until dbt has begun to build."""
    for _ in range(600):
        if rows_of(warehouse_url, "SELECT to_regclass('staging.stg_lake__orders')::text")[0][0] is not None:
            return
        time.sleep(0.1)
    raise AssertionError("dbt has not begun")


def interrupt(process: "subprocess.Popen[str]") -> int:
    """Press Ctrl-C, and again where nothing comes of it: Polars swallows one at the very end of a small query.

    Returns how often it was pressed.
    """
    for number in range(1, 11):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=4)
            return number
    raise AssertionError("it does not end when it is interrupted")


def test_interrupted_runs_are_caught_up(terminal: Terminal) -> None:
    looked_at = terminal.inspect()
    looked_at.shop(SHOP)
    looked_at.oracle.look()

    interrupted = terminal.start(*RANGE)
    list(lines_until(interrupted, "cleansed/orders"))
    pressed = interrupt(interrupted)
    _, errors = interrupted.communicate(timeout=60)
    # Pressed once more at the very end of a process, it is the system that ends it.
    assert interrupted.returncode == 1 or (pressed > 1 and interrupted.returncode == -signal.SIGINT)
    # Python itself tells of an interrupt that came in the midst of tidying up, and goes on.
    assert "Traceback" not in errors or "Exception ignored" in errors

    killed = terminal.start(*RANGE)
    list(lines_until(killed, "curated/daily_sales", "curated/customer_profile"))
    assert looked_at.wrong_curated() == {}
    wait_for_dbt(terminal.warehouse_url)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL

    healed = terminal.run(*RANGE)
    assert healed.returncode == 0, healed.stderr
    assert looked_at.wrong_marts() == {}
    assert_every_version_stands_once(looked_at, versions_in(looked_at))


@pytest.mark.thorough
def test_two_backfills_of_a_range_at_once_do_no_harm(terminal: Terminal) -> None:
    looked_at = terminal.inspect()
    looked_at.shop(SHOP)
    looked_at.oracle.look()
    # Making a home at once is a matter of its own, below.
    prepared = {**os.environ, **terminal.environment}
    subprocess.run([sys.executable, "-c", PREPARE], input="go\n", text=True, env=prepared, check=True)

    both = [terminal.start(*RANGE), terminal.start(*RANGE)]

    for process in both:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert looked_at.wrong_marts() == {}
    assert looked_at.wrong_curated() == {}
    assert_every_version_stands_once(looked_at, versions_in(looked_at))


def versions_in(lakehouse: Lakehouse) -> set[tuple[str, str]]:
    """Table and content of every row of the shop as it is now."""
    return {
        (table.name, content)
        for table in RAW
        for (content,) in lakehouse.shop_rows(f"SELECT there::text FROM shop.{table.name} AS there")
    }


def assert_every_version_stands_once(lakehouse: Lakehouse, versions: set[tuple[str, str]]) -> None:
    expected = Counter(table for table, _ in versions)
    assert {table.name: row_count(lakehouse.lake, table) for table in RAW} == {
        table.name: expected[table.name] for table in RAW
    }
    assert [accounts(lakehouse.lake, table).missing for table in CLEANSED] == [0] * len(CLEANSED)


def test_concurrent_creators_of_a_home_leave_a_working_one(tmp_path: Path) -> None:
    environment = {**os.environ, "LAKEHOUSE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PREPARE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    makers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(4)]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    told = [maker.communicate(timeout=60)[1] for maker in makers]
    afterwards = subprocess.run(command, env=environment, input="go\n", capture_output=True, text=True, check=False)
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0], told
    assert afterwards.returncode == 0, afterwards.stderr


@pytest.mark.thorough
def test_run_of_many_processes_is_signed_and_ends_well(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = terminal.inspect()
    looked_at.shop(SHOP)
    looked_at.oracle.look()
    # Makes the home, and captures; the command itself runs in one process.
    assert terminal.run("backfill", "2017-01-01", "2017-01-09", "--job", "capture_changes_job").returncode == 0
    home = str(terminal.home / "dagster")
    ends = {"start": "2017-01-01", "end": "2017-01-09"}
    tags = {f"dagster/asset_partition_range_{end}": day for end, day in ends.items()}
    command = ["job", "execute", "-m", "orders_lakehouse.definitions", "-j", "refresh_cleansed_job"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dagster")), *command, "--tags", json.dumps(tags)],
        env={**os.environ, **terminal.environment, "DAGSTER_HOME": home, "LAKEHOUSE_EXECUTOR": "multiprocess"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setenv("DAGSTER_HOME", home)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs(limit=1)
    assert run.is_success
    assert run.tags[SIGNATURE].endswith(run.run_id)
    assert not_accounted_for(looked_at) == {}
