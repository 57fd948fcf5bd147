"""What a failed run is said to have failed by."""

from collections.abc import Iterator

import dagster as dg
import pytest

from orders_lakehouse.instance.outcome import explain_failed_run, failure_in_words


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def failed(instance: dg.DagsterInstance, message: str) -> str:
    """The id of a run whose two assets fail: one by itself, one by another's error."""

    @dg.asset(key=["raw", "orders"])
    def by_itself() -> None:
        raise dg.Failure(description=message)

    @dg.asset(key=["raw", "payments"])
    def by_another() -> None:
        try:
            raise ValueError("no such column")
        except ValueError as error:
            raise RuntimeError("capture failed") from error

    return dg.materialize([by_itself, by_another], instance=instance, raise_on_error=False).run_id


def test_each_step_that_failed_tells_its_cause(instance: dg.DagsterInstance) -> None:
    said = failure_in_words(instance, failed(instance, "the shop cannot be reached"))
    assert sorted(said.split("; ")) == [
        "raw/orders: the shop cannot be reached",
        "raw/payments: ValueError: no such column",
    ]


def test_long_error_is_cut(instance: dg.DagsterInstance) -> None:
    said = failure_in_words(instance, failed(instance, "x" * 2_000))
    assert len(said) == 600
    assert said.endswith("...")


def test_check_that_stopped_the_run_is_named(instance: dg.DagsterInstance) -> None:
    check = dg.AssetCheckSpec("no_row_lost", asset=dg.AssetKey(["cleansed", "orders"]), blocking=True)

    @dg.asset(key=["cleansed", "orders"], check_specs=[check])
    def orders() -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        yield dg.Output(None)
        yield dg.AssetCheckResult(passed=False, metadata={"failed_dates": "2017-03-01 to 2017-03-02"})

    run = dg.materialize([orders], instance=instance, raise_on_error=False)
    assert not run.success
    assert failure_in_words(instance, run.run_id) == (
        "check no_row_lost on cleansed/orders failed for 2 dates: 2017-03-01, 2017-03-02"
    )


def test_failed_run_is_explained_with_the_commands_that_go_on(instance: dg.DagsterInstance) -> None:
    check = dg.AssetCheckSpec("no_row_lost", asset=dg.AssetKey(["cleansed", "orders"]), blocking=True)
    column = dg.TableSchema(columns=[dg.TableColumn("date"), dg.TableColumn("found")])
    fails = dg.MetadataValue.table([dg.TableRecord({"date": "2017-03-01", "found": "7 accounted for"})], column)

    @dg.asset(key=["cleansed", "orders"], check_specs=[check])
    def orders() -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        yield dg.Output(None)
        yield dg.AssetCheckResult(passed=False, metadata={"failed_dates": "2017-03-01", "fails": fails})

    run_id = dg.materialize([orders], instance=instance, raise_on_error=False).run_id
    dates = {"dagster/asset_partition_range_start": "2017-03-01", "dagster/asset_partition_range_end": "2017-03-05"}
    instance.add_run_tags(run_id, dates)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert (explain_failed_run(instance, run) or "").splitlines() == [
        "check no_row_lost on cleansed/orders failed for 1 date: 2017-03-01 (7 accounted for)",
        "The other dates run without it: lakehouse backfill 2017-03-01 2017-03-05 --without 2017-03-01",
        "Once the cause is fixed, run the dates again: lakehouse backfill 2017-03-01 2017-03-05",
    ]


def test_run_that_succeeds_has_nothing_to_explain(instance: dg.DagsterInstance) -> None:
    run_id = dg.materialize([dg.asset(name="fine")(lambda: None)], instance=instance).run_id
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert explain_failed_run(instance, run) is None


def test_run_whose_process_is_gone_says_so(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job(), status=dg.DagsterRunStatus.STARTED)
    assert failure_in_words(instance, run.run_id) == "the run ended without a message"
    instance.report_run_failed(run, "The process that executed this run is gone.")
    assert failure_in_words(instance, run.run_id) == "The process that executed this run is gone."
