"""The entry point of Dagster: everything declared in `defs/`."""

# ruff: noqa: E402 (imports below the first statement)
import gc

# Garbage collection is off during the imports. Every process of a run keeps the imported objects to its end, and
# searching them for garbage takes a third of the start of a small run.
gc.disable()

import dagster as dg

from orders_lakehouse.defs import glue, jobs, maintenance, reconciliation, resources, sensors
from orders_lakehouse.defs.assets import cleansed, curated, marts, raw, shop
from orders_lakehouse.defs.checks import dimensions, failing_requests, monitors, of_runs
from orders_lakehouse.runtime.blocked_imports import collect_garbage_rarely

defs = dg.Definitions(
    assets=[
        *shop.shop_tables,
        *dg.with_source_code_references(dg.load_assets_from_modules([raw, cleansed, curated, marts])),
    ],
    asset_checks=dg.load_asset_checks_from_modules([of_runs, dimensions, monitors, failing_requests, reconciliation]),
    jobs=[
        jobs.refresh_all_job,
        jobs.capture_changes_job,
        jobs.derive_dates_job,
        *jobs.layer_jobs,
        reconciliation.reconcile_job,
        reconciliation.repair_job,
        monitors.freshness_job,
        *maintenance.maintain_jobs,
        maintenance.prune_history_job,
        *glue.catalog_jobs,
    ],
    schedules=[
        reconciliation.reconcile_schedule,
        reconciliation.repair_schedule,
        monitors.freshness_schedule,
        *maintenance.maintain_schedules,
        maintenance.prune_history_schedule,
        *glue.catalog_schedules,
    ],
    sensors=[sensors.shop_changes_sensor, sensors.touched_dates_sensor],
    resources=resources.RESOURCES,
    executor=resources.EXECUTOR,
)

gc.freeze()
collect_garbage_rarely()
gc.enable()
