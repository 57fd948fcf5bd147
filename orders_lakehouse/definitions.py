"""The entry point of Dagster: everything declared in `defs/`."""

# ruff: noqa: E402 (imports below the first statement)
import gc

# Every process of a run imports this, and keeps it to its end: to look for garbage among it while it comes, and once
# more when the process ends, would take a third of a small run's start.
gc.disable()

import dagster as dg

from orders_lakehouse.defs import (
    care,
    catalog,
    checks,
    cleansed,
    curated,
    dimensions,
    jobs,
    marts,
    monitors,
    raw,
    resources,
    sensor_checks,
    sensors,
    upkeep,
    warehouse,
)
from orders_lakehouse.imports import collect_garbage_rarely

defs = dg.Definitions(
    assets=dg.with_source_code_references(dg.load_assets_from_modules([raw, cleansed, curated, warehouse, marts])),
    asset_checks=dg.load_asset_checks_from_modules([checks, dimensions, monitors, sensor_checks, upkeep]),
    jobs=[
        jobs.refresh_all_job,
        jobs.capture_changes_job,
        jobs.derive_dates_job,
        *jobs.layer_jobs,
        upkeep.reconcile_job,
        upkeep.repair_job,
        monitors.freshness_job,
        *care.maintain_jobs,
        care.prune_history_job,
        *catalog.catalog_jobs,
    ],
    schedules=[
        upkeep.reconcile_schedule,
        upkeep.repair_schedule,
        monitors.freshness_schedule,
        *care.maintain_schedules,
        care.prune_history_schedule,
        *catalog.catalog_schedules,
    ],
    sensors=[sensors.shop_changes_sensor, sensors.touched_dates_sensor],
    resources=resources.RESOURCES,
    executor=resources.EXECUTOR,
)

gc.freeze()
collect_garbage_rarely()
gc.enable()
