"""Resources of assets, and the translation of their failures for Dagster. No connection is made at import."""

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
from orders_lakehouse.instance.outcome import explain_failed_run
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
    """Retry transient errors with back-off, and fail at once on other expected errors, with their message alone.

    Any other exception is a defect and propagates unchanged.
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
    """Return the environment with the dates of a build, and those that it leaves out."""
    variables = {} if dates is None else {"DBT_FROM_DATE": str(dates[0]), "DBT_TO_DATE": str(dates[1])}
    return {**variables, "DBT_BLOCKED_DATES": ",".join(map(str, blocked))} if blocked else variables


def warehouse_for_dbt() -> dict[str, str]:
    """Return the environment with which dbt connects to the current warehouse, in the same way as the loader.

    Raises:
        DatabaseError: The warehouse's URL cannot be parsed.
    """
    parts = connections.parts_of("warehouse")
    return {
        WAREHOUSE_URL: database_url("warehouse"),
        # The database name is separate, because dbt writes it into its statements.
        "DBT_WAREHOUSE_DBNAME": connections.database_name("warehouse"),
        "DBT_LAKE_SCHEMA": settings().lake_schema,
        "DBT_STAGING_SCHEMA": settings().staging_schema,
        "DBT_MARTS_SCHEMA": settings().marts_schema,
        "DBT_READERS": settings().readers,
        "DBT_WAREHOUSE_LOCK_TIMEOUT": f"{connections.LOCK_SECONDS}s",
        # dbt masks variables with this prefix in everything that it writes.
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": parts.get("password", ""),
        "DBT_ENV_SECRET_WAREHOUSE_SSLPASSWORD": parts.get("sslpassword", ""),
    }


def keep_what_dbt_parsed(target: Path) -> None:
    """Keep the parse result of an invocation, so that the next one parses only changed files.

    Args:
        target: The invocation's folder.
    """
    parsed = target / _PARSED
    if parsed.exists():
        kept = dbt_folder() / _PARSED
        kept.parent.mkdir(parents=True, exist_ok=True)
        # The file is replaced atomically, because another process may be reading it.
        copy = shutil.copy(parsed, kept.with_suffix(f".{os.getpid()}"))
        os.replace(copy, kept)


# Name of dbt's file with its parse result.
_PARSED = "partial_parse.msgpack"


class Dbt(DbtCli):
    """The dbt of this environment, in a process that lives from the beginning of a run to its last step."""

    _kept: KeptDbt | None = PrivateAttr(default=None)
    _parsing: "subprocess.Popen[bytes] | None" = PrivateAttr(default=None)

    def cli(self, args: Sequence[str], variables: Mapping[str, str] | None = None, **options: Any) -> DbtCliInvocation:
        """Start a build like the parent class, with additional environment variables."""
        kept = self._living()
        if self._parsing is not None:
            self._parsing.wait()
            keep_what_dbt_parsed(_target_ahead(kept))
            self._parsing = None
        kept.set_variables(variables or {})
        return super().cli(args, **options)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Start the process, so that dbt is imported, and parsed if necessary, while the steps of the lake run."""
        super().setup_for_execution(context)
        kept = self._living()
        # The step that needs the warehouse reports errors in its URL.
        with suppress(ExpectedError):
            if not (dbt_folder() / _PARSED).exists():
                kept.set_variables(warehouse_for_dbt())
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
        """End the process; a step that needs it again starts another one."""
        self._stop()

    def _living(self) -> KeptDbt:
        if self._kept is None or not self._kept.is_running:
            self._stop()
            self._kept = KeptDbt()
            # The environment is changed here, before other threads read it: os.environ is not thread-safe.
            environment.forget_dbt_options()
            os.environ.update({ADDRESS: self._kept.address, "DBT_TARGET_PATH": os.fspath(dbt_folder())})
        return self._kept

    def _stop(self) -> None:
        if self._kept is not None:
            self._kept.stop()
            self._kept = None
            os.environ.pop(ADDRESS, None)
        if self._parsing is not None:
            # The parsing ends when its server ends.
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


def _after_run(instance: dg.DagsterInstance, run_id: str, checks: Collection[dg.AssetCheckKey]) -> None:
    """Show the checks in force, and say why the run fails if it does, in one of its last events."""
    run = instance.get_run_by_id(run_id)
    try:
        show_what_is_in_force(instance, configured_lake(), run_id, checks)
    except ExpectedError as error:
        # The results of the run are stored; the next run that evaluates the same checks reports them.
        instance.report_engine_event(f"Dagster does not show the check results of all dates: {error}", dagster_run=run)
    failure = explain_failed_run(instance, run) if run else None
    if failure:
        instance.report_engine_event(f"The run fails.\n{failure}", dagster_run=run)


# Executors by name. The default runs all steps in one process: a process for each step costs seconds, and the engine
# uses all cores anyway.
_EXECUTORS = {
    "threads": threads_executor,
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor,
}
EXECUTOR = around(_EXECUTORS[settings().executor], before=sign_run, after=_after_run)
# Executor of a run that is executed in the process that asks for it, without further processes.
EXECUTOR_HERE = around(_EXECUTORS[settings().executor.replace("multiprocess", "threads")], after=_after_run)
