"""The user of the embedded server: which folders that user may enter, and programs that run as that user."""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orders_lakehouse.errors import DatabaseError
from orders_lakehouse.machine import environment

SERVER_USER = "embedded_postgres"


@dataclass(frozen=True)
class ServerUser:
    """The user of the embedded server."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Return whether this process runs as another user."""
        return self.uid != os.geteuid()


def embedded_user() -> ServerUser:
    """Return the user `embedded_postgres`; create it if necessary."""
    try:
        return user_of_entry(pwd.getpwnam(SERVER_USER))
    except KeyError:
        useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if useradd is None:
            raise DatabaseError(
                f"Postgres does not run as root, and the program useradd is missing: make the user {SERVER_USER}, or "
                "run as another user"
            ) from None
        command = [useradd, "--user-group", "--no-create-home", "--shell", "/bin/false", SERVER_USER]
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (the system's own program)
        return user_of_entry(pwd.getpwnam(SERVER_USER))


def owner_of(folder: Path) -> ServerUser:
    """Return the owner of a folder."""
    return user_with(folder.stat().st_uid)


def user_with(uid: int) -> ServerUser:
    """Return the user with an id.

    Raises:
        DatabaseError: The user has no name on this machine.
    """
    try:
        return user_of_entry(pwd.getpwuid(uid))
    except KeyError:
        raise DatabaseError(
            f"user {uid} has no name on this machine, and Postgres needs one; add the user to /etc/passwd, or set "
            "SHOP_DATABASE_URL and WAREHOUSE_DATABASE_URL"
        ) from None


def user_of_entry(entry: pwd.struct_passwd) -> ServerUser:
    """Return the user of an entry of /etc/passwd."""
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def allow_passage(home: Path, user: ServerUser) -> None:
    """Let the server's user pass through a closed folder of root, by the user's own group."""
    status = home.stat()
    is_closed = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    # A group with other members is not let in; then the data is stored elsewhere.
    if user.is_other and is_closed and _has_own_group(user):
        os.chown(home, -1, user.gid)
        home.chmod(0o710)


def _has_own_group(user: ServerUser) -> bool:
    import grp

    members = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == user.gid}
    return members | set(grp.getgrgid(user.gid).gr_mem) <= {user.name}


def can_enter(user: ServerUser, folder: Path) -> bool:
    """Return whether a user can enter a folder."""
    try:
        call(Path("/bin/sh"), "-c", 'cd "$1"', "sh", folder, user=user)
    except subprocess.CalledProcessError:
        return False
    return True


def make_folder(folder: Path, user: ServerUser) -> Path:
    """Make a folder that only its owner can enter; return it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, user.uid, user.gid)
    folder.chmod(0o700)
    return folder


def call(program: Path, *arguments: str | Path, user: ServerUser) -> None:
    """Run a program as the server's user, without the groups of this user.

    Raises:
        CalledProcessError: The program fails; `stderr` has its output.
    """
    # Output goes to a file, because the server that pg_ctl starts would hold a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        command = [str(program), *map(str, arguments)]
        # The server's user may not be able to enter the current folder, so the program runs in `/`.
        completed = subprocess.run(  # noqa: S603 (the package's own program)
            command,
            check=False,
            cwd="/",
            # A server would take its port from PGPORT.
            env=environment.for_postgres_server(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            user=user.uid if user.is_other else None,
            group=user.gid if user.is_other else None,
            extra_groups=[] if user.is_other else None,
        )
        output.seek(0)
        if completed.returncode:
            raise subprocess.CalledProcessError(completed.returncode, command, stderr=output.read())
