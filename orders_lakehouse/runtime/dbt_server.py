"""A dbt process that a run starts once and uses for several builds.

Importing dbt takes longer than a small build, and a second build in the same process finds its macros compiled. Dagster
starts an executable for each build. This module is that executable. It hands its arguments, environment, folder and
output over to a process that has dbt in memory, and exits with the status of the build. That process belongs to one
run, runs one build at a time, and ends with the run's process in any case.
"""

import atexit
import gc
import json
import multiprocessing.resource_tracker
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from orders_lakehouse.machine import environment

# Command of the executable. dbt imports modules whose names begin with `dbt_`; `-P` keeps it from finding them in the
# current folder.
COMMAND = (sys.executable, "-P", "-m", "orders_lakehouse.runtime.dbt_server")
# Prefix of the process's own temporary folder, and name of its socket in it.
FOLDER_PREFIX, SOCKET = "dbt-", "asked"
# Variable with the address of the process, for the executable.
ADDRESS = "KEPT_DBT_ADDRESS"
# Variable with the URL of the warehouse, which replaces dbt's profile. dbt hides variables with this prefix in logs.
WAREHOUSE_URL = "DBT_ENV_SECRET_WAREHOUSE_URL"
# Exit status of the executable when the process is gone; dbt itself exits with 0, 1 or 2.
_GONE = 3
# Seconds that dbt may take to cancel its queries after the end of its run.
_CANCELLED_SECONDS = 20
_NUMBER = struct.Struct("!Q")


class KeptDbt:
    """A process with dbt in memory, for this process.

    Attributes:
        address: Path of the socket that takes requests for builds.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        self.address = str(Path(self._folder, SOCKET))
        with socket.socket(socket.AF_UNIX) as listener:
            # The socket exists before the process runs, so that early requests wait.
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [*COMMAND, ADDRESS, str(listener.fileno())],
                pass_fds=[listener.fileno()],
                # The pipe closes when this process ends, also when it is killed.
                stdin=subprocess.PIPE,
                env=environment.for_dbt(os.environ),
                # In its own session, the process gets interrupts only from the executable, and only once.
                start_new_session=True,
            )

    def set_variables(self, variables: Mapping[str, str]) -> None:
        """Add variables to the environment of all further builds, in addition to those of the executable.

        They include passwords, so they pass through the socket and stay in memory.
        """
        # An error is ignored, because the executable reports that the process is gone.
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.connect(self.address)
            _send(connection, dict(variables))

    @property
    def is_running(self) -> bool:
        """Return whether the process can take a build."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the process; a running build is cancelled."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _request_build(address: str, arguments: Sequence[str]) -> int:
    """Let the process build with this process's environment, folder and output; return the status of the build."""
    request = [arguments, environment.for_dbt(os.environ), os.getcwd()]
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            _send(connection, request, [sys.stdout.fileno(), sys.stderr.fileno()])
            (builder,) = _NUMBER.unpack(_read(connection, _NUMBER.size))
            # An interrupt is passed on, because dbt then cancels its queries.
            signal.signal(signal.SIGINT, lambda *_: os.kill(builder, signal.SIGINT))
            (status,) = _NUMBER.unpack(_read(connection, _NUMBER.size))
        except OSError as error:
            sys.stdout.write(f"The process that has dbt in memory is gone: {error}\n")
            return _GONE
    return int(status)


def _serve(listener: socket.socket) -> None:
    """Run requested builds one after the other, until stdin ends."""
    # A process that a shell started in the background ignores SIGINT, so the handler is set again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    imported, ended = threading.Event(), threading.Event()
    threading.Thread(target=_end_with_stdin, args=(imported, ended), daemon=True).start()
    # dbt's locks would start this process at the first build, and it would keep that build's output open.
    multiprocessing.resource_tracker.ensure_running()
    gc.disable()
    from dbt.cli.main import cli

    _connect_by_url()
    # Imported objects stay, so the garbage collector need not search them.
    gc.freeze()
    gc.enable()
    imported.set()
    variables: dict[str, str] = {}
    while not ended.is_set():
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the other process may be gone
            size, outputs, _, _ = socket.recv_fds(connection, _NUMBER.size, 2)
            request = json.loads(_read(connection, *_NUMBER.unpack(size)))
            if not outputs:
                variables = request
                continue
            arguments, of_executable, folder = request
            connection.sendall(_NUMBER.pack(os.getpid()))
            with _acting_as({**of_executable, **variables}, folder, outputs):
                sys.argv = ["dbt", *arguments]
                try:
                    cli(prog_name="dbt")
                except SystemExit as end:
                    status = end.code if isinstance(end.code, int) else int(end.code is not None)
            connection.sendall(_NUMBER.pack(status))


def _end_with_stdin(imported: threading.Event, ended: threading.Event) -> NoReturn:
    sys.stdin.buffer.read()
    ended.set()
    if not imported.is_set():
        # No build runs yet, and an interrupt in the body of a class would raise a RuntimeError.
        os._exit(_GONE)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(_CANCELLED_SECONDS)
    os._exit(_GONE)


@contextmanager
def _acting_as(variables: Mapping[str, str], folder: str, outputs: Sequence[int]) -> Iterator[None]:
    """Take over an environment, a folder, and outputs for stdout and stderr, until the block ends."""
    own = [os.dup(1), os.dup(2)]
    for output, number in zip(outputs, (1, 2), strict=True):
        os.dup2(output, number)
        os.close(output)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    try:
        yield
    finally:
        sys.stdout.flush()
        for output, number in zip(own, (1, 2), strict=True):
            # The output is closed, so that its reader sees its end.
            os.dup2(output, number)
            os.close(output)


def _connect_by_url() -> None:
    """Let dbt connect with the loader's URL, if one is set.

    dbt's profile knows a dozen of libpq's parameters, and sets some that a URL leaves to the environment. The same URL
    in the same environment gives the loader and dbt the same hosts, certificates, passwords and options.
    """
    import psycopg2

    connect_original = psycopg2.connect

    def connect(**profile: Any) -> Any:
        url = os.environ.get(WAREHOUSE_URL)
        # Text is UTF-8, whatever the role, the database or the URL say.
        fixed = {"client_encoding": "UTF8", "fallback_application_name": "dbt"}
        return connect_original(url, **fixed) if url else connect_original(**profile)

    psycopg2.connect = connect


def _send(connection: socket.socket, request: Any, outputs: Sequence[int] = ()) -> None:
    encoded = json.dumps(request).encode()
    socket.send_fds(connection, [_NUMBER.pack(len(encoded))], outputs)
    connection.sendall(encoded)


def _read(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("it has ended")
        received += chunk
    return received


def main() -> None:
    """Run dbt with the arguments of this command, in the running dbt process if there is one."""
    address = os.environ.get(ADDRESS)
    if sys.argv[1:2] == [ADDRESS]:
        with socket.socket(fileno=int(sys.argv[2])) as listener, suppress(KeyboardInterrupt):
            _serve(listener)
        # Exit handlers run, but Python's own cleanup is skipped, because the system frees memory faster.
        atexit._run_exitfuncs()
        os._exit(0)
    elif address:
        raise SystemExit(_request_build(address, sys.argv[1:]))
    else:
        from dbt.cli.main import cli

        _connect_by_url()
        cli(prog_name="dbt")


if __name__ == "__main__":
    main()
