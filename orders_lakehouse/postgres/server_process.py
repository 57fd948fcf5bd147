"""Find the process of the embedded server by the file in its data, stop it, and wait for its end."""

import signal
import time
from contextlib import suppress
from pathlib import Path

from orders_lakehouse.errors import DatabaseError, DatabaseUnavailableError

# Seconds that the server may take to start, which includes recovery after a crash.
START_SECONDS = 60


def server_process(data: Path) -> int | None:
    """Return the process id of the server; None if it does not run."""
    import psutil

    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        # Process ids are reused, so the id may belong to another process, even to another server.
        is_server = process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
        return pid if is_server and process.cwd() == str(data.resolve()) else None
    except (FileNotFoundError, PermissionError, ValueError, IndexError, OverflowError, psutil.Error):
        # The file is missing or does not name a running server.
        return None


def shut_down(process: int, data: Path) -> None:
    """Stop a server as `pg_ctl stop -m fast` does; pg_ctl itself cannot enter a closed folder."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(process)
        try:
            server.send_signal(signal.SIGINT)
            server.wait(START_SECONDS)
        except psutil.Error as error:
            raise DatabaseError(f"the embedded Postgres in {data} does not stop: {error}") from error


def wait_until_gone(data: Path) -> None:
    """Wait for the sessions of a killed server, because they may still write to its files."""
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
                f"the embedded Postgres in {data} was killed, and its processes still run after {START_SECONDS} s: "
                f"{', '.join(map(str, sessions))}. End them, then run again."
            )
        time.sleep(0.1)
