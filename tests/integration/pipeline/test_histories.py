"""Random histories: whatever happens in the shop, and in whatever mix it is captured, derived, repeated and broken off.

After the sensors have settled, every table is what a full refresh makes of raw, and what the oracle makes of the shop.
"""

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from orders_lakehouse.delta import commits
from orders_lakehouse.delta.object_store import StorageUnavailableError
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.pipeline import date_queue
from orders_lakehouse.postgres.connections import parse_url
from orders_lakehouse.tables import RAW_OF
from tests.support.daemon import DERIVED, Daemon, Killed
from tests.support.lakehouse import assert_same_lake, lakehouse_on, not_accounted_for
from tests.support.random_shop import DELETIONS, MUTATIONS, minutes

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

FIRST, LAST = "2017-01-01", "2017-02-10"
IN_THE_LAKE = "group:cleansed or group:curated"
MARTS = "group:marts"


class Histories(RuleBasedStateMachine):
    """A shop, a lakehouse that follows it, and what can come between them."""

    make_url: ClassVar[Callable[..., str]]
    tried: ClassVar[Counter[str]]
    through_dbt: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.home = Path(self.stack.enter_context(TemporaryDirectory(prefix="lakehouse-history-")))
        self.urls: list[str] = []
        self.encodings: dict[str, str] = {}
        self.now = datetime(2017, 1, 2, 8, tzinfo=UTC)
        # Writes until the process ends, and until the storage refuses one; none for what does not happen.
        self.lives: int | None = None
        self.patience: int | None = None
        self.marts = False

    def _url(self, name: str) -> str:
        self.urls.append(type(self).make_url(name, encoding=self.encodings.get(name, "")))
        return self.urls[-1]

    @contextmanager
    def _deaths(self) -> Iterator[None]:
        """Every write to the lake may be the last thing that the process does, or the first that it does not do."""

        def may_die() -> None:
            if self.lives is not None:
                self.lives -= 1
                if self.lives < 0:
                    self.lives = None
                    self.tried["kills"] += 1
                    raise Killed

        def may_fail() -> None:
            if self.patience is not None:
                self.patience -= 1
                if self.patience < 0:
                    self.patience = None
                    self.tried["faults"] += 1
                    raise StorageUnavailableError("503 Slow Down")

        def around(work: Callable[..., Any]) -> Callable[..., Any]:
            def write(*arguments: Any, **options: Any) -> Any:
                may_die()
                may_fail()
                done = work(*arguments, **options)
                may_die()
                return done

            return write

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commits, "write", around(commits.write))
            patch.setattr(date_queue, "_PAUSE", timedelta(0))
            yield

    @initialize(
        encoding=st.sampled_from(["UTF8", "LATIN1"]),
        marts=st.booleans(),
        what=st.lists(MUTATIONS, min_size=6, max_size=12),
    )
    def begin(self, encoding: str, marts: bool, what: list[str]) -> None:
        self.encodings = {"shop": encoding}
        self.lakehouse = self.stack.enter_context(lakehouse_on(None, self.home, self._url))
        self.daemon = Daemon(self.lakehouse)
        self.lakehouse.shop("CREATE SCHEMA bin")
        for table in RAW_OF:
            self.lakehouse.shop(f"CREATE TABLE bin.{table} AS SELECT * FROM shop.{table} WHERE false")
        self.stack.enter_context(self._deaths())
        self.marts = marts and self.through_dbt
        self.tried["histories"] += 1
        self.tried[f"histories of a shop in {encoding}"] += 1
        if self.marts:
            self.daemon.through = f"({DERIVED}) or {MARTS}"
            self.tried["histories through dbt"] += 1
        for one in what:
            self.change(300, 0, [one])

    @rule(after=minutes, late=st.sampled_from([0, 0, 0, 45]), what=st.lists(MUTATIONS, min_size=1, max_size=4))
    def change(self, after: int, late: int, what: list[str]) -> None:
        """Things change in the shop, in one transaction; it may have begun a while ago."""
        self.now += timedelta(minutes=after)
        clock = f"'{self.now - timedelta(minutes=late)}'"
        self.lakehouse.shop(";".join(statement.replace("{clock}", clock) for statement in what))
        self.lakehouse.oracle.look()
        self.tried["mutations"] += len(what)

    @rule(what=st.lists(DELETIONS, min_size=1, max_size=3))
    def delete(self, what: list[str]) -> None:
        """Rows are deleted in the shop, and nothing marks them."""
        for one in what:
            table = one.partition(" ")[0]
            self.lakehouse.shop(
                f"WITH gone AS (DELETE FROM shop.{one} RETURNING *) INSERT INTO bin.{table} SELECT * FROM gone"
            )
        self.tried["deletions"] += len(what)

    @rule(tables=st.sets(st.sampled_from(sorted(RAW_OF)), min_size=1))
    def restore(self, tables: set[str]) -> None:
        """Rows that were deleted are back as they were, clocks and all, unless their keys are there again."""
        for table in sorted(tables):
            self.lakehouse.shop(
                f"WITH back AS (DELETE FROM bin.{table} RETURNING *) "
                f"INSERT INTO shop.{table} SELECT * FROM back ON CONFLICT DO NOTHING"
            )
        self.lakehouse.oracle.look()
        self.tried["returns"] += len(tables)

    @precondition(lambda self: self.lives is None and self.patience is None)
    @rule(writes=st.one_of(st.none(), st.integers(0, 8)))
    def reconcile(self, writes: int | None) -> None:
        """The shop is compared with raw, and what differs is put right; once it may end without a word before that."""
        self._forget_what_raw_never_knew()
        if writes is not None:
            self.lives = writes
            with self._survived():
                self.lakehouse.run_job("reconcile_job", reconcile="allow")
            self.lives = None
        assert self.lakehouse.run_job("reconcile_job", reconcile="allow").success
        self.lakehouse.oracle.reconcile()
        self.tried["comparisons"] += 1

    @rule(
        first=st.integers(0, 20), days=st.integers(0, 20), tables=st.sets(st.sampled_from(sorted(RAW_OF)), min_size=1)
    )
    def capture(self, first: int, days: int, tables: set[str]) -> None:
        """Somebody captures some tables for some dates."""
        self._run(first, days, " or ".join(f"key:raw/{table}" for table in sorted(tables)))

    @rule(
        first=st.integers(0, 20),
        days=st.integers(0, 20),
        what=st.sampled_from([IN_THE_LAKE, f"group:raw or {IN_THE_LAKE}", "group:cleansed", "group:curated"]),
    )
    def backfill(self, first: int, days: int, what: str) -> None:
        """Somebody runs a range of dates, or a layer of it."""
        self._run(first, days, what)

    @rule()
    def tick(self) -> None:
        """The daemon's sensors look once."""
        self.tried["ticks"] += 1
        with self._survived():
            self.daemon.tick_all()

    @precondition(lambda self: self.patience is None)
    @rule(writes=st.integers(0, 10))
    def refuse(self, writes: int) -> None:
        """The storage refuses one of the next writes."""
        self.patience = writes

    @precondition(lambda self: self.lives is None)
    @rule(writes=st.integers(0, 12), first=st.integers(0, 9), days=st.integers(0, 20), ticks=st.booleans())
    def kill_a_run(self, writes: int, first: int, days: int, ticks: bool) -> None:
        """A run ends without a word, before or after one of its writes."""
        self.lives = writes
        self.tick() if ticks else self.backfill(first, days, f"group:raw or {IN_THE_LAKE}")

    @precondition(lambda self: self.lives is None)
    @rule(writes=st.integers(0, 20))
    def kill(self, writes: int) -> None:
        """One of the next runs ends without a word, before or after one of its writes."""
        self.lives = writes

    @rule()
    def settle(self) -> None:
        """The sensors have their way, and all is right."""
        self.lives = self.patience = None
        self.daemon.settle()
        self.reconcile(None)
        self.daemon.settle()
        self._forget_what_raw_never_knew()
        assert self.lakehouse.wrong_curated() == {}
        assert not_accounted_for(self.lakehouse) == {}
        if self.marts:
            assert self.lakehouse.wrong_marts() == {}
        self.tried["times settled"] += 1

    def teardown(self) -> None:
        """At the end of a history: as after a full refresh from raw."""
        try:
            self.settle()
            assert self.daemon.settle() == []
            again = self.lakehouse.copy_of_lake(self.home / "again", "raw")
            result = again.run(FIRST, LAST, select=IN_THE_LAKE)
            assert result.success
            assert_same_lake(self.lakehouse, again)
        finally:
            self.stack.close()
            self._drop_databases()

    def _run(self, first: int, days: int, select: str) -> None:
        begin = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(days=first)
        self.tried["runs of ranges"] += 1
        with self._survived():
            self.lakehouse.run(f"{begin:%Y-%m-%d}", f"{begin + timedelta(days=days):%Y-%m-%d}", select=select)

    @contextmanager
    def _survived(self) -> Iterator[None]:
        try:
            yield
        except Killed:
            self.daemon.bury()

    def _forget_what_raw_never_knew(self) -> None:
        """The oracle forgets the versions that came and went between two looks of the lakehouse, and no others."""
        for table, name in ((CUSTOMERS, "full_name"), (PRODUCTS, "product_name")):
            key = table.key[0]
            rows = self.lakehouse.lake_rows(RAW_OF[table.name])
            # Of versions with one clock, the last that was captured is what it was known as.
            last = rows.sort("captured_at").unique([key, "updated_at"], keep="last")
            told = last.select(key, "updated_at", name, pl.col("deleted_at").is_not_null())
            known = ", ".join(f"('{k}', '{at}'::timestamptz, '{named}', {gone})" for k, at, named, gone in told.rows())
            kept = f"({key}, updated_at, {name}, deleted_at IS NOT NULL) IN ({known})" if known else "false"
            self.lakehouse.shop(f"DELETE FROM oracle.seen_{table.name} WHERE NOT coalesce({kept}, false)")

    def _drop_databases(self) -> None:
        names = [str((parse_url(url) or {})["dbname"]) for url in self.urls]
        admin = self.urls[0].replace(f"/{names[0]}?", "/postgres?")
        with dbapi.connect(admin, autocommit=True) as connection, connection.cursor() as cursor:
            for name in names:
                cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def play(make_url: Callable[..., str], count: int, start: int, *, through_dbt: bool = False) -> Counter[str]:
    """Play so many histories; returns what was tried."""
    tried = Counter[str]()
    attributes = {"make_url": staticmethod(make_url), "tried": tried, "through_dbt": through_dbt}
    run_state_machine_as_test(
        seed(start)(type("Histories", (Histories,), attributes)),
        settings=settings(
            # The first one is always the simplest that there is, in which next to nothing happens.
            max_examples=count + 1,
            stateful_step_count=12,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return tried


@pytest.mark.xdist_group("histories")
@pytest.mark.long
def test_any_history_ends_as_a_full_refresh(
    postgres_url_factory: Callable[[str], str], record_property: Callable[[str, object], None]
) -> None:
    tried = play(postgres_url_factory, 1, start=7021994)
    record_property("tried", dict(tried))
    assert tried["ticks"] + tried["runs of ranges"] > 0


HALVES = [pytest.param(half, marks=pytest.mark.xdist_group(f"histories-{half}")) for half in range(2)]


@pytest.mark.thorough
@pytest.mark.parametrize("half", HALVES)
def test_many_histories_end_as_a_full_refresh(
    postgres_url_factory: Callable[[str], str], record_property: Callable[[str, object], None], half: int
) -> None:
    """As many as `make torture N=` asks for, others each time; SEED plays them again."""
    start = int(os.environ.get("SEED") or secrets.randbelow(10**9)) + half
    record_property("seed", start)
    count = max(1, int(os.environ.get("HISTORIES") or 4) // len(HALVES))
    tried = play(postgres_url_factory, count, start, through_dbt=True)
    record_property("tried", dict(tried))
    assert tried["times settled"] >= count
