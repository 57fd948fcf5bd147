"""dbt in a process that is kept: it does what the executable does, for as long as its run lives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from orders_lakehouse.defs.resources import RESOURCES, warehouse_for_dbt
from orders_lakehouse.postgres.connections import parse_url
from orders_lakehouse.runtime.dbt_server import ADDRESS, COMMAND, WAREHOUSE_URL, KeptDbt
from orders_lakehouse.settings import settings
from tests.support.lakehouse import rows_of

pytestmark = pytest.mark.xdist_group("kept_dbt")

PROFILE = """
p:
  target: t
  outputs:
    t: {{type: postgres, host: "{host}", port: {port}, user: {user}, password: "", dbname: {dbname}, schema: public}}
"""
SLEEPS = [
    "show",
    "--inline",
    "select pg_sleep({{ env_var('DBT_SECONDS') }}), 'slept {{ env_var('DBT_SECONDS') }} s' as said",
]
# A process in the background, which is deaf to interrupts, that starts a kept one and builds with it.
RUN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from orders_lakehouse.runtime.dbt_server import ADDRESS, COMMAND, WAREHOUSE_URL, KeptDbt
os.environ[ADDRESS] = KeptDbt().address
subprocess.run([*COMMAND, *sys.argv[1:]])
"""
BUILD_AND_STOP = """
import os, subprocess, sys
from orders_lakehouse.runtime.dbt_server import ADDRESS, COMMAND, WAREHOUSE_URL, KeptDbt
kept = KeptDbt()
subprocess.run([*COMMAND, *sys.argv[1:]], env={**os.environ, ADDRESS: kept.address}, check=True)
kept.stop()
"""

STOP_EARLY = """
import time
from orders_lakehouse.runtime.dbt_server import KeptDbt
for kept in [KeptDbt() for _ in range(3)]:
    time.sleep(0.7)
    kept.stop()
"""


@pytest.fixture(scope="module")
def kept() -> Iterator[KeptDbt]:
    made = KeptDbt()
    yield made
    made.stop()
    assert not made.is_running
    assert not Path(made.address).parent.exists()


@pytest.fixture(scope="module")
def url(postgres_url_factory: Callable[[str], str]) -> str:
    return postgres_url_factory("kept")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "dbt_project.yml").write_text("{name: p, profile: p, config-version: 2}")
    parts = {"port": "5432", "user": "postgres"} | (parse_url(url) or {})
    (folder / "profiles.yml").write_text(PROFILE.format(**parts))
    return folder


def environment(kept: KeptDbt | None = None, **more: str) -> dict[str, str]:
    return {**os.environ, **({ADDRESS: kept.address} if kept else {}), **more}


def run(arguments: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def sleeping(url: str) -> bool:
    return bool(
        rows_of(url, "select 1 from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()")
    )


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_dbt_runs_in_folder_and_environment_of_its_caller(kept: KeptDbt, project: Path) -> None:
    for seconds in ("0", "0.1"):
        status, said = run(SLEEPS, project, environment(kept, DBT_SECONDS=seconds))
        assert status == 0, said
        assert f"slept {seconds} s" in said


def test_failure_ends_and_reads_as_in_dbt(kept: KeptDbt, tmp_path: Path) -> None:
    for arguments, told in (["no_such_command"], "No such command"), (["parse", "--project-dir", "lost"], "lost"):
        status, said = run(arguments, tmp_path, environment(kept))
        assert status == 2, said
        assert told in said


def test_interrupt_cancels_the_query_and_the_next_build_runs(kept: KeptDbt, project: Path, url: str) -> None:
    asking = subprocess.Popen(
        [*COMMAND, *SLEEPS], cwd=project, env=environment(kept, DBT_SECONDS="600"), stdout=subprocess.DEVNULL
    )
    eventually(lambda: sleeping(url))
    asking.send_signal(signal.SIGINT)
    assert asking.wait(30) not in (0, None)
    eventually(lambda: not sleeping(url))
    assert run(SLEEPS, project, environment(kept, DBT_SECONDS="0"))[0] == 0


def test_killed_run_leaves_no_build_behind(project: Path, url: str) -> None:
    run = subprocess.Popen([sys.executable, "-c", RUN, *SLEEPS], cwd=project, env=environment(DBT_SECONDS="600"))
    eventually(lambda: sleeping(url))
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) >= 2
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    eventually(lambda: not sleeping(url))


@pytest.fixture
def home(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """LAKEHOUSE_HOME of a test's own, whose warehouse is there already."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", url)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def kept_processes() -> set[int]:
    # What has ended and was not waited for yet, of another test, has no command line.
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return {child.pid for child in living if ADDRESS in child.cmdline()}


@pytest.mark.usefixtures("home")
def test_dbt_server_lives_as_long_as_its_run() -> None:
    with dg.build_resources({"dbt": RESOURCES["dbt"]}):
        # The end of this block also ends a process that an earlier test of this worker has left.
        pass
    others = kept_processes()
    with dg.build_resources({"dbt": RESOURCES["dbt"]}):
        assert len(kept_processes() - others) == 1
    assert kept_processes() == others


@pytest.mark.long
@pytest.mark.usefixtures("home")
def test_first_run_of_a_home_parses_the_project_before_build() -> None:
    for number in range(2):
        with dg.build_resources({"dbt": RESOURCES["dbt"]}) as resources:
            parsing = resources.dbt._parsing
            assert (parsing is not None) is (number == 0)
            if parsing is not None:
                # To import dbt once more would take a core from the first steps, for seconds.
                environment = psutil.Process(parsing.pid).environ()
                assert environment[ADDRESS] == resources.dbt._kept.address
                assert WAREHOUSE_URL not in environment
            built = resources.dbt.cli(["list"], warehouse_for_dbt(), raise_on_error=False)
            assert built.wait().is_successful()
        log = (built.target_path / "dbt.log").read_text()
        assert "Partial parsing enabled, no changes found" in log, log


def test_run_that_ends_before_parsing_leaves_nothing(home: Path) -> None:
    before = set(psutil.Process().children())
    with dg.build_resources({"dbt": RESOURCES["dbt"]}):
        pass
    assert set(psutil.Process().children()) <= before
    assert list(home.iterdir()) == []


def test_call_to_a_dead_dbt_server_is_an_error(tmp_path: Path) -> None:
    gone = KeptDbt()
    gone.stop()
    status, said = run(["--version"], tmp_path, environment(gone))
    assert (status, "process that has dbt in memory is gone" in said) == (3, True)


def test_end_of_the_server_is_silent(project: Path) -> None:
    environ = {**environment(), "DBT_SECONDS": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", BUILD_AND_STOP, *SLEEPS],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "slept 0 s" in ended.stdout
    assert ended.stderr == ""


def test_end_before_dbt_is_loaded_is_silent() -> None:
    ended = subprocess.run([sys.executable, "-c", STOP_EARLY], capture_output=True, text=True, check=True)
    assert ended.stdout + ended.stderr == ""
