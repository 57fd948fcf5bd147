"""Files and log entries that no kept version needs."""

import os
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from orders_lakehouse.delta.log import at, dates_changed_since
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.affected_dates import affected_dates, versions_now
from tests.support.small_files import CALENDAR, FIRST, KEEP, an_order, followed, learn, made_ago, rows_at, rows_in


class TestOldFiles:
    """On disk, where the age of things can be made up."""

    @pytest.fixture
    def aged(self, lake: Lake) -> Lake:
        """Four versions of a date, each 10 days after the one before; the last of today."""
        for number in range(4):
            learn(lake, an_order(number, FIRST))
        made_ago(lake.location(RAW_ORDERS), {0: 60, 1: 60, 2: 40, 3: 20, 4: 0})
        return lake

    def test_files_of_kept_versions_stay(self, aged: Lake) -> None:
        # Another one who brings files together, and whose log forgets after a week which ones it took out.
        location = aged.location(RAW_ORDERS)
        versions = {number: rows_at(aged, number) for number in (2, 3, 4)}
        maintain_table(aged, RAW_ORDERS, KEEP)
        made_ago(location, {0: 80, 1: 80, 2: 60, 3: 40, 4: 20, 5: 10})
        DeltaTable(location).create_checkpoint()
        assert len(DeltaTable(location).vacuum(31 * 24, full=True)) == 3, (
            "by their age alone, files that versions need would go"
        )

        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert done.removed == 0
        assert {number: rows_at(aged, number) for number in (3, 4)} == {n: versions[n] for n in (3, 4)}

    def test_files_of_expired_versions_are_removed(self, aged: Lake) -> None:
        marks = versions_now(aged)
        old = {RAW_ORDERS.path: [marks[RAW_ORDERS.path][0], 2]}
        maintain_table(aged, RAW_ORDERS, KEEP)
        # Everything that was brought together is older than what is kept, and so is that it was.
        made_ago(aged.location(RAW_ORDERS), {0: 80, 1: 80, 2: 75, 3: 60, 4: 50, 5: 40})
        before = rows_in(aged, RAW_ORDERS)
        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert (done.removed, done.after.files, done.after.files_in_all) == (4, 1, 1)
        assert done.after.bytes_in_all < done.before.bytes_in_all
        assert rows_in(aged, RAW_ORDERS).equals(before)
        # A version whose files are gone is said to be gone, and not damaged.
        with pytest.raises(LakeError, match="raw/orders has no version 4; its versions are 5 to 7"):
            at(aged, RAW_ORDERS, 4, None)
        # To one who has seen no more than that version, everything is new.
        assert dates_changed_since(aged, aged.find(RAW_ORDERS), RAW_ORDERS, 2) is None
        assert affected_dates(aged, old, CALENDAR) == [FIRST]
        assert affected_dates(aged, marks, CALENDAR) == [FIRST]
        assert affected_dates(aged, versions_now(aged), CALENDAR) == []

    def test_files_of_stopped_writers_are_removed_unless_running(self, aged: Lake) -> None:
        folder = Path(aged.location(RAW_ORDERS), f"captured_on={FIRST}")
        for name, days in (("left", 40), ("written", 1)):
            (folder / f"part-{name}.parquet").write_bytes(b"")
            ago = time.time() - 86400 * days
            os.utime(folder / f"part-{name}.parquet", (ago, ago))
        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert done.removed == 1
        assert [path.name for path in folder.glob("part-[lw]*")] == ["part-written.parquet"]

    def test_log_is_kept_as_long_as_the_setting_says(self, aged: Lake) -> None:
        log = Path(aged.location(RAW_ORDERS), "_delta_log")
        DeltaTable(str(log.parent), version=2).create_checkpoint()
        made_ago(str(log.parent), {0: 60, 1: 60, 2: 40, 3: 20, 4: 0}, checkpoints=True)
        maintain_table(aged, RAW_ORDERS, 90)
        assert (log / f"{0:020}.json").exists()
        assert aged.find(RAW_ORDERS).metadata().configuration["delta.logRetentionDuration"] == "interval 90 days"
        maintain_table(aged, RAW_ORDERS, KEEP)
        assert not (log / f"{0:020}.json").exists()
        assert rows_at(aged, 2) == ["o00000", "o00001"]
        assert at(aged, RAW_ORDERS, 2, None).version() == 2

    def test_log_without_checkpoints_gets_one(self, lake: Lake) -> None:
        followed(lake, 2)
        log = Path(lake.location(RAW_ORDERS), "_delta_log")
        for _ in range(8):
            lake.find(RAW_ORDERS).alter.set_table_description("timezone=UTC contract=1")
        for checkpoint in log.glob("*.checkpoint.parquet"):
            checkpoint.unlink()
        (log / "_last_checkpoint").unlink(missing_ok=True)
        maintain_table(lake, RAW_ORDERS, KEEP)
        assert len(list(log.glob("*.checkpoint.parquet"))) == 1
