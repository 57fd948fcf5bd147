"""What assets work with, and how their failures reach Dagster. Nothing here connects to anything."""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from orders_lakehouse.defs.checks.in_force import show_what_is_in_force
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.instance.orphaned_runs import sign_run
from orders_lakehouse.instance.retention import dbt_folder
from orders_lakehouse.machine import environment
from orders_lakehouse.postgres import connections
from orders_lakehouse.postgres.connections import database_url
from orders_lakehouse.runtime.dagster_dbt_light import DbtCli, DbtCliInvocation
from orders_lakehouse.runtime.dbt_server import ADDRESS, COMMAND, WAREHOUSE_URL, KeptDbt
from orders_lakehouse.runtime.executor import around, threads_executor
from orders_lakehouse.settings import DBT_PROJECT, settings

_RETRIES = 3


@contextmanager
def failures(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext,
) -> Iterator[None]:
    """Retry with back-off what may pass by itself; fail at once, with the message alone, on what will not.

    Anything else is a defect and raises as it is.
    """
    try:
        yield
    except TransientError as error:
        if context.retry_number < _RETRIES:
            context.log.warning("%s Trying again.", error)
            raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=2**context.retry_number) from error
        raise dg.Failure(str(error), allow_retries=False) from error
    except ExpectedError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def dates_for_dbt(dates: tuple[date, date] | None, blocked: Sequence[date]) -> dict[str, str]:
    """Environment that tells dbt the dates of a build, and those that it leaves out."""
    told = {} if dates is None else {"DBT_FROM_DATE": str(dates[0]), "DBT_TO_DATE": str(dates[1])}
    return {**told, "DBT_BLOCKED_DATES": ",".join(map(str, blocked))} if blocked else told


def warehouse_for_dbt() -> dict[str, str]:
    """Environment by which dbt finds the warehouse in force, and connects as the loader does.

    Raises:
        DatabaseError: The warehouse's URL cannot be read.
    """
    parts = connections.parts_of("warehouse")
    return {
        WAREHOUSE_URL: database_url("warehouse"),
        # dbt writes the name into its statements.
        "DBT_WAREHOUSE_DBNAME": connections.database_name("warehouse"),
        "DBT_LAKE_SCHEMA": settings().lake_schema,
        "DBT_STAGING_SCHEMA": settings().staging_schema,
        "DBT_MARTS_SCHEMA": settings().marts_schema,
        "DBT_READERS": settings().readers,
        "DBT_WAREHOUSE_LOCK_TIMEOUT": f"{connections.LOCK_SECONDS}s",
        # dbt hides them wherever it writes.
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": parts.get("password", ""),
        "DBT_ENV_SECRET_WAREHOUSE_SSLPASSWORD": parts.get("sslpassword", ""),
    }


def keep_what_dbt_parsed(target: Path) -> None:
    """Leave what an invocation has parsed where the next one finds it, which parses only what has changed since.

    Args:
        target: The invocation's folder.
    """
    parsed = target / _PARSED
    if parsed.exists():
        kept = dbt_folder() / _PARSED
        kept.parent.mkdir(parents=True, exist_ok=True)
        # At once: another process may be reading.
        copy = shutil.copy(parsed, kept.with_suffix(f".{os.getpid()}"))
        os.replace(copy, kept)


# In which dbt leaves what it has parsed.
_PARSED = "partial_parse.msgpack"


class Dbt(DbtCli):
    """The dbt of this environment, in a process that is kept from the beginning of a run to its last step."""

    _kept: KeptDbt | None = PrivateAttr(default=None)
    _parsing: "subprocess.Popen[bytes] | None" = PrivateAttr(default=None)

    def cli(self, args: Sequence[str], told: Mapping[str, str] | None = None, **options: Any) -> DbtCliInvocation:
        """Start a build, as the parent does, with more in its environment."""
        kept = self._living()
        if self._parsing is not None:
            self._parsing.wait()
            keep_what_dbt_parsed(_target_ahead(kept))
            self._parsing = None
        kept.tell(told or {})
        return super().cli(args, **options)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Start the process: while the lake's steps are at work, it imports dbt, and parses what nobody has yet."""
        super().setup_for_execution(context)
        kept = self._living()
        # What is wrong with the warehouse's URL is said by the step that needs it.
        with suppress(ExpectedError):
            if not (dbt_folder() / _PARSED).exists():
                kept.tell(warehouse_for_dbt())
                self._parsing = self._parse_ahead(kept)

    def _parse_ahead(self, kept: KeptDbt) -> "subprocess.Popen[bytes]":
        target = os.fspath(_target_ahead(kept))
        folders = ["--project-dir", self.project_dir, "--profiles-dir", str(self.profiles_dir)]
        return subprocess.Popen(  # noqa: S603 (our own command)
            [*COMMAND, "--quiet", "parse", *folders, "--target-path", target, "--log-path", target],
            env={**environment.for_dbt(os.environ), ADDRESS: kept.address},
            cwd=self.project_dir,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (Dagster passes it)
        """End the process; a step that needs it again starts another."""
        self._stop()

    def _living(self) -> KeptDbt:
        if self._kept is None or not self._kept.lives:
            self._stop()
            self._kept = KeptDbt()
            # Once, before there are threads that may read it: the environment of a process is not made for more.
            environment.forget_dbt_options()
            os.environ.update({ADDRESS: self._kept.address, "DBT_TARGET_PATH": os.fspath(dbt_folder())})
        return self._kept

    def _stop(self) -> None:
        if self._kept is not None:
            self._kept.stop()
            self._kept = None
            os.environ.pop(ADDRESS, None)
        if self._parsing is not None:
            # It ends with the process that it has asked.
            self._parsing.wait()
            self._parsing = None


def _target_ahead(kept: KeptDbt) -> Path:
    return Path(kept.address).parent / "parsed"


RESOURCES = {
    "lake": configured_lake(),
    "dbt": Dbt(
        project_dir=os.fspath(DBT_PROJECT),
        profiles_dir=os.fspath(DBT_PROJECT),
        dbt_executable=COMMAND[0],
        global_config_flags=list(COMMAND[1:]),
    ),
}


def _show_checks(instance: dg.DagsterInstance, run_id: str, checks: Collection[dg.AssetCheckKey]) -> None:
    try:
        show_what_is_in_force(instance, configured_lake(), run_id, checks)
    except ExpectedError as error:
        # What the run has done stands; the next one that judges the same checks tells.
        run = instance.get_run_by_id(run_id)
        instance.report_engine_event(f"Dagster was not told what checks found on all dates: {error}", dagster_run=run)


# A process for each step costs seconds, and the engine uses all cores as it is: one process for a run by default.
_EXECUTORS = {
    "threads": threads_executor,
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor,
}
EXECUTOR = around(_EXECUTORS[settings().executor], before=sign_run, after=_show_checks)
# Of a run that is executed where it is asked for; there are no other processes then.
EXECUTOR_HERE = around(_EXECUTORS[settings().executor.replace("multiprocess", "threads")], after=_show_checks)
