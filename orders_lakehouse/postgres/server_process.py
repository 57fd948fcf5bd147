"""The process of the embedded server: found by the file in its data, ended, and waited for."""

import signal
import time
from contextlib import suppress
from pathlib import Path

from orders_lakehouse.errors import DatabaseError, DatabaseUnavailableError

# Seconds that the server may take to start, which includes recovery after a crash.
START_SECONDS = 60


def server_process(data: Path) -> int | None:
    """The number of the server's process, if it runs."""
    import psutil

    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        # The number of a process that is gone is given to another one some day, and may be another server's.
        is_server = process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
        return pid if is_server and process.cwd() == str(data.resolve()) else None
    except (FileNotFoundError, PermissionError, ValueError, IndexError, OverflowError, psutil.Error):
        # A file that says nothing of a server, whatever it says.
        return None


def shut_down(process: int, data: Path) -> None:
    """End a server as `pg_ctl stop -m fast` does, which could not pass to data in a folder that was closed."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(process)
        try:
            server.send_signal(signal.SIGINT)
            server.wait(START_SECONDS)
        except psutil.Error as error:
            raise DatabaseError(f"the embedded Postgres in {data} does not stop: {error}") from error


def wait_until_gone(data: Path) -> None:
    """Wait for the sessions of a server that was killed: while one of them works, nobody else may write the files."""
    import psutil

    until = time.monotonic() + START_SECONDS
    while True:
        sessions = [
            process.pid
            for process in psutil.process_iter(["name", "cwd"])
            if (process.info["name"] or "").startswith("postgres") and process.info["cwd"] == str(data.resolve())
        ]
        if not sessions:
            return
        if time.monotonic() > until:
            raise DatabaseUnavailableError(
                f"the embedded Postgres in {data} was killed, and processes of it still work after {START_SECONDS} s: "
                f"{', '.join(map(str, sessions))}. End them, then run again."
            )
        time.sleep(0.1)
