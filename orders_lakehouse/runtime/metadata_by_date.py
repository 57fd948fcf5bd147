"""Add metadata for many dates of an asset in one step, in linear time."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator


def add_metadata_by_date(
    context: dg.AssetExecutionContext, by_date: Mapping[str, Mapping[str, Any]], asset: dg.AssetKey | None = None
) -> None:
    """Add metadata to many dates of an asset in one step.

    For each date, `context.add_asset_metadata` copies the metadata of all dates and computes the run's dates again. So
    its time grows with the square of their number. Dagster has no public way to add them all at once.

    Args:
        context: Context of the running asset.
        by_date: Metadata by partition key of the run.
        asset: The asset; needed where a step makes several.
    """
    step = context.get_step_execution_context()
    added = dict(step._metadata_accumulator.per_output_metadata)
    for key, metadata in by_date.items():
        handle = AssetMetadataHandle(asset_key=asset or context.asset_key, partition_key=key)
        added[handle] = {**added.get(handle, {}), **metadata}
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=added)
