"""How much room is enough."""

from pathlib import Path

import pytest

from orders_lakehouse.machine.disks import Disk, disks, finding_of_room

GB = 10**9


@pytest.mark.parametrize(
    ("free", "total", "largest", "severity"),
    [
        (11, 1000, 0, None),
        (9, 1000, 0, "warning"),
        (3, 20, 0, None),
        (1, 20, 0, "warning"),
        (0.1, 20, 0, "error"),
        (50, 1000, 24, None),
        (50, 1000, 26, "warning"),
    ],
)
def test_room_is_judged_by_the_disk_and_by_the_largest_table(
    free: float, total: int, largest: int, severity: str | None
) -> None:
    found = finding_of_room(Disk("the lake", Path("/lake"), int(free * GB), total * GB), largest * GB)
    assert (found and found.severity) == severity


def test_places_on_one_disk_are_reported_once(tmp_path: Path) -> None:
    (found,) = disks({"LAKEHOUSE_HOME": tmp_path, "the lake": tmp_path / "not" / "there"})
    assert (found.used_for, found.path) == ("LAKEHOUSE_HOME, the lake", tmp_path)
    assert 0 < found.free < found.total
