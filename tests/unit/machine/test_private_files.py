"""LAKEHOUSE_HOME is private, and nothing that is somebody else's changes its mode."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.settings import PROJECT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_home_is_private_and_existing_parents_keep_modes(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    home = make_home(tmp_path / "one" / "two")
    assert [mode(path) for path in (tmp_path, home.parent, home)] == [0o751, 0o700, 0o700]


def test_home_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("lake", "dagster", "dbt", "logs"):
        (tmp_path / name).mkdir()
    make_home(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("found", [0o1777, 0o755])
def test_folder_that_others_use_keeps_its_mode(tmp_path: Path, found: int) -> None:
    (tmp_path / ("lake" if found & 0o1000 else "somebody's")).mkdir()
    tmp_path.chmod(found)
    make_home(tmp_path)
    assert mode(tmp_path) == found
    tmp_path.chmod(0o700)


def test_files_written_by_commands_are_private(tmp_path: Path) -> None:
    script = "import os, sys; sys.argv = ['lakehouse', 'url', 'lake']; from orders_lakehouse.cli.main import main\n"
    script += "try: main()\nexcept SystemExit: open('written', 'w').close(); os.mkdir('made')"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, umask=0)
    assert (mode(tmp_path / "written"), mode(tmp_path / "made")) == (0o600, 0o700)
