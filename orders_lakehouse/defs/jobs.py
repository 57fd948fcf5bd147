"""Jobs: everything, or one layer, for a date or a range of dates."""

import dagster as dg

from orders_lakehouse.defs.metadata import key_of
from orders_lakehouse.defs.reconciliation import UPKEEP
from orders_lakehouse.partitions import DAILY
from orders_lakehouse.tables import DIMENSIONS

refresh_all_job = dg.define_asset_job(
    "refresh_all_job",
    selection=dg.AssetSelection.all() - UPKEEP,
    partitions_def=DAILY,
    description="From the shop to the tested star schema, for a range of dates.",
)

# Assets dated by capture; all others are dated by order date.
_CAPTURED = dg.AssetSelection.groups("raw") | dg.AssetSelection.assets(*map(key_of, DIMENSIONS))

capture_changes_job = dg.define_asset_job(
    "capture_changes_job",
    selection=_CAPTURED - UPKEEP,
    partitions_def=DAILY,
    description="Changes of the shop, by capture date: raw, and the versions of members of dimensions.",
)
derive_dates_job = dg.define_asset_job(
    "derive_dates_job",
    selection=dg.AssetSelection.all() - _CAPTURED - UPKEEP,
    partitions_def=DAILY,
    description="Everything derived from raw, for a range of order dates, up to the tested star schema.",
)

_LAYERS = ("raw", "cleansed", "curated", "marts")

layer_jobs = [
    dg.define_asset_job(
        f"refresh_{layer}_job",
        selection=dg.AssetSelection.groups(layer) - UPKEEP,
        partitions_def=DAILY,
        description=f"Only the layer {layer}, for a range of dates, from the stored tables of earlier layers.",
    )
    for layer in _LAYERS
]
