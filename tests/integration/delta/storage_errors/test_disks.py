"""Disks that are full, limited or forbidden."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import PROJECT
from tests.support.two_dates import files_in, replace, stored


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_limit_of_the_user_is_named_and_nothing_changes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC")
    replace(lake, orders=1)
    before, rows, version = files_in(lake), stored(lake), lake.find(DAILY_SALES).version()
    with files_no_larger_than(100), pytest.raises(LakeError) as raised:
        replace(lake, orders=2)
    assert f"{lake.url} accepts no file of this size (see ulimit -f): no room to write curated/daily_sales" in str(
        raised.value
    )
    # What was begun of a file is removed in the background, as a rule; no commit names it.
    begun = files_in(lake) - before
    assert not any("_delta_log" in path for path in begun)
    assert (stored(lake), lake.find(DAILY_SALES).version()) == (rows, version)
    replace(lake, orders=2)
    assert stored(lake) == [2, 2]


# In a small file system of its own: a table, a disk that fills up, and room again.
FULL = """
import os, sys
from tests.support.two_dates import Lake, files_in, replace, stored
lake = Lake(sys.argv[1], "UTC")
replace(lake, orders=1)
before = files_in(lake)
free = os.statvfs(lake.url).f_bavail * os.statvfs(lake.url).f_frsize
with open(sys.argv[1] + "/ballast", "wb") as ballast:
    ballast.write(b"x" * free)
try:
    replace(lake, orders=2)
except RuntimeError as error:
    print(type(error).__name__, error)
assert stored(lake) == [1, 1]
os.remove(sys.argv[1] + "/ballast")
assert files_in(lake) == before
replace(lake, orders=2)
print(stored(lake))
"""
# Whoever may make a user namespace may mount there, whatever the rest of the machine thinks of them.
MOUNTED = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def test_full_disk_is_named_and_nothing_changes(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=512k small {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*MOUNTED, mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: neither by this user nor in a user namespace")
    done = subprocess.run(
        [*MOUNTED, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    said, stands = done.stdout.splitlines()
    assert said.startswith(f"LakeError {tmp_path} is full: no room to write curated/daily_sales (0.0 MiB free of 0.5")
    assert "make room, then run the same dates again" in said
    assert stands == "[2, 2]"


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nobody in particular, for whom modes of files count; root is that one for the time being."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A directory that everybody can reach, unlike pytest's."""
    made = Path(tempfile.mkdtemp(prefix="lakehouse-tests-everyones-"))
    made.chmod(0o755)
    yield made
    with suppress(OSError):
        for path in (made, *made.rglob("*")):
            path.chmod(0o755)
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("use", [stored, lambda lake: replace(lake, orders=2)], ids=["read", "write"])
def test_forbidden_directory_is_named(everyones: Path, use: Callable[[Lake], object]) -> None:
    lake = Lake(str(everyones / "lake"), "UTC")
    replace(lake, orders=1)
    table = Path(lake.url, DAILY_SALES.path)
    locked = [table / "_delta_log"] if use is stored else sorted(table.glob("order_date=*"))
    for path in locked:
        path.chmod(0o000)
    with ordinary_user(), pytest.raises(LakeError, match=f"{table} cannot be used by user .*Permission denied"):
        use(lake)
    for path in locked:
        path.chmod(0o755)
    assert stored(lake) == [1, 1]


def test_lake_that_cannot_be_created_is_named(everyones: Path) -> None:
    everyones.chmod(0o555)
    lake = Lake(str(everyones / "lake"), "UTC")
    with ordinary_user(), pytest.raises(LakeError, match=r"cannot be used by user .*Permission denied"):
        lake.open(DAILY_SALES)
