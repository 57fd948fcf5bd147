"""A run says in the list of runs what it is about."""

import dagster as dg
import pytest

from orders_lakehouse.instance.orphaned_runs import SIGNATURE, sign_run, signature_of

RANGE = {"dagster/asset_partition_range_start": "2017-03-10", "dagster/asset_partition_range_end": "2017-03-20"}


@dg.job
def some_job() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({}, {"trigger": "UI"}),
        (RANGE, {"dates": "2017-03-10 to 2017-03-20", "trigger": "UI"}),
        (
            {"dagster/partition": "2017-03-10", "dagster/backfill": "abc"},
            {"dates": "2017-03-10", "trigger": "backfill in the UI"},
        ),
        ({"dagster/schedule_name": "freshness_schedule"}, {"trigger": "schedule"}),
        (
            {"dagster/sensor_name": "shop_changes_sensor", "trigger": "changed in the shop"},
            {"trigger": "changed in the shop"},
        ),
    ],
)
def test_run_shows_its_dates_and_its_trigger(tags: dict[str, str], shown: dict[str, str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(some_job, tags=tags)
        sign_run(instance, run.run_id)
        signed = instance.get_run_by_id(run.run_id)
        assert signed is not None
        assert {name: signed.tags.get(name) for name in shown} == shown
        assert ("dates" in signed.tags) == ("dates" in shown)
        # The UI hides tags with this prefix.
        assert SIGNATURE.startswith(".dagster/")
        assert signature_of(signed).endswith(run.run_id)


def test_run_of_an_earlier_version_keeps_its_signature() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(some_job, tags={"orders_lakehouse/process": "host/1/1.00/run"})
        assert signature_of(run) == "host/1/1.00/run"
