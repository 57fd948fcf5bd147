"""One table of the shop is refused: the others are captured, followed and compared, and people are told by name."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.cli.status import look, show_tables
from orders_lakehouse.defs.sensors import shop_changes_sensor
from orders_lakehouse.pipeline import date_queue
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.failing_requests import saved_refused
from orders_lakehouse.pipeline.source_lag import uncaptured
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import Marks
from orders_lakehouse.sources.postgres import changes
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.tables import RAW
from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse, changed, failures
from tests.support.late_changes import ORDERED, SHOP
from tests.support.reader import READER, reader_of
from tests.support.rows import on
from tests.support.sensor_states import judged
from tests.support.terminal import command_line

# The user belongs to the whole server.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lakehouse_reader")]

CALENDAR = Calendar(on("2017-01-01"), "UTC")
REVOKED = f"REVOKE SELECT (amount) ON shop.payments FROM {READER}"
GRANTED = f"GRANT SELECT (amount) ON shop.payments TO {READER}"
PAID = "UPDATE shop.payments SET amount = 7, updated_at = '2017-01-08 10:00+00' WHERE payment_id = 'y wanders'"
OTHERS = {table.name for table in RAW} - {"payments"}


@pytest.fixture
def restricted(lakehouse: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """A lakehouse that reads its shop as the document's user."""
    monkeypatch.setattr(date_queue, "_PAUSE", timedelta(0))
    changed(lakehouse, SHOP)
    with reader_of(lakehouse.shop_url, tmp_path) as url:
        monkeypatch.setenv("SHOP_DATABASE_URL", url)
        settings.cache_clear()
        yield lakehouse
    settings.cache_clear()


def looked(marks: Marks) -> tuple[list[str], Marks, dict[str, str]]:
    """Dates with news, the next marks, and why tables are refused."""
    dates, after = changed_dates(marks, lambda _: {}, CALENDAR)
    return (
        [str(day) for day in dates],
        after,
        {name: mark["refused"]["error"] for name, mark in after.items() if "refused" in mark},
    )


@contextmanager
def locked(lakehouse: Lakehouse, table: str) -> Iterator[None]:
    """Somebody alters a table, and does not come to an end."""
    with dbapi.connect(lakehouse.shop_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE shop.{table} IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def test_look_skips_refused_table_and_finds_its_changes_later(restricted: Lakehouse) -> None:
    _, marks, refused = looked({})
    assert refused == {}

    restricted.shop(REVOKED)
    restricted.shop(PAID)
    restricted.shop(ORDERED)
    dates, marks, refused = looked(marks)
    assert dates == ["2017-01-06", "2017-01-09"]
    assert set(refused) == {"payments"}
    assert f"GRANT SELECT (amount) ON shop.payments TO {READER};" in refused["payments"]
    since = marks["payments"]["refused"]["since"]
    dates, marks, refused = looked(marks)
    assert (dates, set(refused), marks["payments"]["refused"]["since"]) == ([], {"payments"}, since)

    restricted.shop(GRANTED)
    dates, marks, refused = looked(marks)
    assert "2017-01-08" in dates
    assert refused == {}
    assert looked(marks)[0] == []


def test_first_look_without_a_table_compares_all_of_it_later(restricted: Lakehouse) -> None:
    restricted.shop(REVOKED)
    first, marks, refused = looked({})
    assert set(refused) == {"payments"}
    restricted.shop(GRANTED)
    dates, _, refused = looked(marks)
    assert refused == {}
    of_payments = {str(day) for (day,) in restricted.shop_rows("SELECT DISTINCT updated_at::date FROM shop.payments")}
    assert set(dates) == of_payments
    assert first != []


def test_locked_table_delays_the_others_by_seconds_only(restricted: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_LOCK_SECONDS", 1)
    _, marks, _ = looked({})
    restricted.shop(ORDERED)
    with locked(restricted, "customers"):
        dates, marks, refused = looked(marks)
    assert "2017-01-09" in dates
    assert "a lock that was not released" in refused["customers"]
    assert set(refused) == {"customers"}
    assert looked(marks)[2] == {}


def test_slow_table_does_not_delay_the_others(restricted: Lakehouse) -> None:
    _, marks, _ = looked({})
    restricted.shop(ORDERED)
    restricted.shop(f"""
        ALTER ROLE {READER} SET statement_timeout = '500ms';
        ALTER TABLE shop.payments RENAME TO old_payments;
        CREATE VIEW shop.payments AS SELECT p.* FROM shop.old_payments AS p, LATERAL (SELECT pg_sleep(10)) AS slow;
        GRANT SELECT ON shop.payments TO {READER};
    """)
    dates, _, refused = looked(marks)
    assert "2017-01-09" in dates
    assert set(refused) == {"payments"}
    assert "canceling statement due to statement timeout" in refused["payments"]


def test_connection_that_is_cut_is_not_blamed_on_a_table(restricted: Lakehouse) -> None:
    """The look fails as a whole, so that the next one begins where the last one ended."""
    _, marks, _ = looked({})
    ended = []

    def cut() -> None:
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{READER}'"
        while not (ended or (found := restricted.shop_rows(query))):
            pass
        ended.extend(found if not ended else [])

    thread = threading.Thread(target=cut)
    with locked(restricted, "customers"):
        thread.start()
        with pytest.raises(Exception, match=r"closed the connection|terminating connection|cannot be reached"):
            looked(marks)
    thread.join()
    assert looked(marks)[0] == []


@pytest.mark.thorough
def test_sensor_goes_on_and_names_refused_tables(
    restricted: Lakehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        restricted.instance = instance
        daemon = Daemon(restricted)
        daemon.settle()
        assert (saved_refused(), judged(daemon)["shop_changes_sensor"][0]) == ([], True)

        restricted.shop(REVOKED)
        restricted.shop(PAID)
        daemon.tick(shop_changes_sensor)
        (refused,) = saved_refused()
        assert refused.table == "payments"
        assert datetime.now(UTC) - refused.since < timedelta(minutes=1)
        reason = str(daemon.skipped["shop_changes_sensor"])
        assert reason.startswith("nothing new; payments is not followed since ")
        assert "GRANT SELECT (amount)" in reason
        assert list(look(restricted.lake).refused_tables) == [refused]
        show_tables(look(restricted.lake))
        assert f"✗ shop.{refused.in_words}" in capsys.readouterr().out
        passed, severity, found, detail = judged(daemon)["shop_changes_sensor"]
        assert (passed, severity, found, detail) == (False, "WARN", "payments is not followed", refused.in_words)

        # A change of another table is captured all the same, by a run of which one step fails.
        changed(restricted, ORDERED)
        daemon.tick(shop_changes_sensor)
        assert daemon.asked[-1] == ("capture_changes_job", "2017-01-06", "2017-01-09")
        assert str(on("2017-01-09")) in {str(day) for day in restricted.raw_tables()["raw/orders"]["captured_on"]}

        restricted.shop(GRANTED)
        daemon.settle()
        assert saved_refused() == []
        assert judged(daemon)["shop_changes_sensor"][0]
        assert "7" in restricted.raw_tables()["raw/payments"]["amount"].to_list()
        assert restricted.wrong_curated() == {}


def test_source_lag_is_reported_for_the_other_tables(restricted: Lakehouse) -> None:
    assert failures(restricted.run("2017-01-01", "2017-01-10", select="group:raw")) == []
    restricted.shop(ORDERED)
    restricted.shop(REVOKED)
    found = uncaptured(restricted.lake)
    assert found.rows == {"orders": 1}
    assert set(found.refused) == {"payments"}
    restricted.run_job("freshness_job")
    (verdict,) = latest(restricted.lake, asset="raw/orders", check_name="keeps_up").iter_rows(named=True)
    assert not verdict["passed"]
    assert verdict["found"].endswith("1 rows of orders; payments is refused")
    assert "GRANT SELECT (amount)" in verdict["detail"]


def test_run_and_reconciliation_fail_on_refused_table_alone(restricted: Lakehouse) -> None:
    restricted.shop(REVOKED)
    result = restricted.run("2017-01-01", "2017-01-10", select="group:raw")
    (failure,) = failures(result)
    assert failure.startswith(
        f"raw__payments: user {READER} of the shop may not read the columns amount of shop.payments"
    )
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert made == OTHERS

    restricted.shop(GRANTED)
    assert failures(restricted.run("2017-01-01", "2017-01-10", select="group:raw")) == []
    restricted.shop(REVOKED)
    (failure,) = failures(restricted.run_job("reconcile_job"))
    assert failure.startswith("raw__payments_agrees_with_shop: ")
    agreeing = latest(restricted.lake, check_name="agrees_with_shop").filter(pl.col("passed"))["asset"]
    assert set(agreeing) == {f"raw/{name}" for name in OTHERS}


@pytest.mark.long
def test_command_prints_differences_then_uncompared_tables(restricted: Lakehouse) -> None:
    assert failures(restricted.run("2017-01-01", "2017-01-10", select="group:raw")) == []
    restricted.shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id = 'moves'")
    restricted.shop(REVOKED)
    done = command_line(["reconcile"])
    assert done.returncode == 1
    assert "raw/orders on 2017-01-02: 1 different from raw (moves)" in done.stdout, done.stderr
    assert f"GRANT SELECT (amount) ON shop.payments TO {READER};" in done.stderr

    restricted.shop("UPDATE shop.orders SET status = 'paid' WHERE order_id = 'moves'")
    done = command_line(["reconcile"])
    assert done.returncode == 1
    assert "agree" not in done.stdout
    assert "shop.payments" in done.stderr
