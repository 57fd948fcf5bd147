"""A shop that lives, a daemon that follows it, and somebody who kills the daemon's runs without a word."""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.instance.orphaned_runs import SIGNATURE
from orders_lakehouse.sample_shop.simulate import simulate
from orders_lakehouse.tables import RAW_OF
from tests.support.lakehouse import MARTS, Lakehouse, not_accounted_for
from tests.support.simulated_shop import WEEK
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.xdist_group("kills")]

# How long the sensors may take to settle: a date whose run was killed several times waits longer each time.
SETTLED_WITHIN = 900
AT_WORK = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
UNFINISHED = dg.RunsFilter(
    statuses=[
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.NOT_STARTED,
    ]
)


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def live(url: str, ended: threading.Event) -> None:
    """A day goes by in some ten seconds, until somebody says that it is enough."""
    while not ended.is_set():
        simulate(url, 1, per_minute=6, report=lambda *_: None)


def kill_one(instance: dg.DagsterInstance, chance: random.Random, killed: dict[str, str]) -> None:
    """Kill one of the runs at work, some moment after it was found, unless it is faster; notes its id and job."""
    runs = [run for run in instance.get_runs(filters=AT_WORK) if SIGNATURE in run.tags and run.run_id not in killed]
    if not runs:
        time.sleep(0.1)
        return
    run = chance.choice(runs)
    time.sleep(chance.uniform(0, 12))
    found = instance.get_run_by_id(run.run_id)
    if found is not None and not found.is_finished:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(run.tags[SIGNATURE].split("/")[1])).send_signal(signal.SIGKILL)
            killed[run.run_id] = run.job_name


def wrong(lakehouse: Lakehouse) -> Mapping[str, object]:
    """All that is not as the shop says, or not accounted for."""
    built = lakehouse.warehouse_rows("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('marts')")
    missing = {mart: "not built yet" for mart in MARTS if (mart,) not in built}
    if missing:
        # Every run so far was killed before.
        return missing
    raw = {
        table.name: lakehouse.lake_rows(RAW_OF[table.name]).sort("captured_at").drop(LINEAGE)
        for table in (CUSTOMERS, PRODUCTS)
    }
    lakehouse.oracle.know(raw)
    return {**lakehouse.wrong_curated(), **lakehouse.wrong_marts(), **not_accounted_for(lakehouse)}


def test_killed_runs_leave_correct_tables(
    terminal: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    lakehouse = terminal.inspect()
    lakehouse.shop(WEEK)
    start = int(os.environ.get("SEED") or random.randrange(10**6))  # noqa: S311 (chance, not a secret)
    record_property("seed", start)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    terminal.start("dev", "--port", str(port), log=tmp_path / "dev.log", LAKEHOUSE_SENSORS="running")
    home = terminal.home / "dagster"
    # Whoever asks earlier would make the home a second time.
    while not answers(port):
        time.sleep(0.5)

    monkeypatch.setenv("DAGSTER_HOME", str(home))
    ended = threading.Event()
    life = threading.Thread(target=live, args=(terminal.shop_url, ended), daemon=True)
    killed: dict[str, str] = {}
    with dg.DagsterInstance.get() as instance:
        life.start()
        try:
            until = time.monotonic() + 120 * int(os.environ.get("KILLS") or 3)
            chance = random.Random(start)  # noqa: S311
            while len(killed) < int(os.environ.get("KILLS") or 3):
                assert time.monotonic() < until, f"found too few runs to kill: {killed}"
                kill_one(instance, chance, killed)
        finally:
            ended.set()
        life.join()

        until = time.monotonic() + SETTLED_WITHIN
        found: Mapping[str, object] = {"nothing has": "settled yet"}
        while found and time.monotonic() < until:
            time.sleep(5)
            if not instance.get_runs_count(UNFINISHED):
                found = wrong(lakehouse)
        by_job = {f"of {job}": number for job, number in Counter(killed.values()).items()}
        record_property("tried", {"runs killed": len(killed), **by_job})
        assert found == {}
        # Whoever was killed is known to be dead, and nothing holds the slot of dbt.
        failed = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert set(killed) <= {run.run_id for run in failed}
