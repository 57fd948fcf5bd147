"""Rows of checks in Dagster's storage: read the newest of each check, and add one for the newest materialization.

`defs.checks.in_force` decides what a row says.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData


class CheckRow(NamedTuple):
    """The newest row of a check.

    Attributes:
        run_id: Run that planned or evaluated the check; empty if it was reported without a run.
        evaluation: The evaluation; None while the check is only planned.
    """

    run_id: str
    evaluation: dg.AssetCheckEvaluation | None


def newest_rows(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, CheckRow]:
    """Return the newest row of each check that has one, in one query."""
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return {
        check: CheckRow(row.run_id, row.evaluation if isinstance(row.evaluation, dg.AssetCheckEvaluation) else None)
        for check, row in latest.items()
    }


def is_about(evaluation: dg.AssetCheckEvaluation, materialization: dg.EventLogRecord) -> bool:
    """Return whether an evaluation is about a materialization; Dagster hides evaluations of older ones."""
    target = evaluation.target_materialization_data
    return target is not None and target.storage_id == materialization.storage_id


def report_about(
    instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation, materialization: dg.EventLogRecord | None
) -> None:
    """Report an evaluation without a run, about a materialization.

    A run has one row for each check, and that is not the newest row if another run was planned later.

    Args:
        instance: Dagster's instance.
        evaluation: The evaluation to show.
        materialization: The newest materialization of the asset, if there is one.
    """
    target = materialization and AssetCheckEvaluationTargetMaterializationData(
        storage_id=materialization.storage_id, run_id=materialization.run_id, timestamp=materialization.timestamp
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
