"""Rows of checks in Dagster's storage: the newest of each check, and one more of the newest materialization.

What a row is to say is decided in `defs.checks.in_force`.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData


class CheckRow(NamedTuple):
    """The newest row of a check.

    Attributes:
        run_id: Run that planned or evaluated the check; empty where that was none.
        evaluation: What was found; None while the check is only planned.
    """

    run_id: str
    evaluation: dg.AssetCheckEvaluation | None


def newest_rows(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, CheckRow]:
    """Return the newest row of each check that has one, in one query."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return {
        check: CheckRow(row.run_id, row.evaluation if isinstance(row.evaluation, dg.AssetCheckEvaluation) else None)
        for check, row in found.items()
    }


def is_of(evaluation: dg.AssetCheckEvaluation, made: dg.EventLogRecord) -> bool:
    """Return whether an evaluation is about a materialization: Dagster shows nothing of an older one."""
    target = evaluation.target_materialization_data
    return target is not None and target.storage_id == made.storage_id


def report_of(
    instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation, made: dg.EventLogRecord | None
) -> None:
    """Report an evaluation of no run, about a materialization.

    A run has one row for each check, and where another run was planned later, that is not the newest.

    Args:
        instance: Dagster's instance.
        evaluation: What to show.
        made: The newest materialization of the asset, if there is one.
    """
    target = made and AssetCheckEvaluationTargetMaterializationData(
        storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
    )
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=evaluation.asset_key,
            check_name=evaluation.check_name,
            passed=evaluation.passed,
            severity=evaluation.severity,
            metadata=evaluation.metadata,
            target_materialization_data=target,
        )
    )
