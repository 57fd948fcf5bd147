"""dbt that a run starts once and builds with several times.

To import dbt takes longer than a small build, and a second build in the same process finds its macros compiled. Dagster
starts an executable for each build. This module is that executable: it hands its arguments, environment, folder and
output over to a process that has dbt in memory, and ends as the build ends. That process belongs to one run, builds one
thing at a time, and ends with the run's process, however that ends.
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

# The executable; `-P`: dbt imports what begins with `dbt_`, and ought not to find it in the current folder.
COMMAND = (sys.executable, "-P", "-m", "orders_lakehouse.runtime.dbt_server")
# The process has a folder of its own among the system's temporary ones, and listens at this socket in it.
FOLDER_PREFIX, SOCKET = "dbt-", "asked"
# By which the executable finds the process.
ADDRESS = "KEPT_DBT_ADDRESS"
# URL of the warehouse, by which dbt connects in the place of its profile; dbt hides what is named so in its logs.
WAREHOUSE_URL = "DBT_ENV_SECRET_WAREHOUSE_URL"
# How the executable ends when the process is gone; dbt ends with 0, 1 or 2.
_GONE = 3
# How long dbt may take to cancel its queries when its run is gone.
_CANCELLED_SECONDS = 20
_NUMBER = struct.Struct("!Q")


class KeptDbt:
    """A process with dbt in memory, for this process.

    Attributes:
        address: Where it is asked for builds.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        self.address = str(Path(self._folder, SOCKET))
        with socket.socket(socket.AF_UNIX) as listener:
            # Before the process has started, so that whoever asks early waits.
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [*COMMAND, ADDRESS, str(listener.fileno())],
                pass_fds=[listener.fileno()],
                # A pipe whose other end closes with this process, also when it is killed.
                stdin=subprocess.PIPE,
                env=environment.for_dbt(os.environ),
                # What interrupts this process reaches a build by the executable, and once.
                start_new_session=True,
            )

    def tell(self, more: Mapping[str, str]) -> None:
        """Give the builds from now on more in their environment, beside that of the executable.

        It passes by the socket and stays in memory: passwords are among it.
        """
        # The executable finds out, and says, that the process is gone.
        with socket.socket(socket.AF_UNIX) as telling, suppress(OSError):
            telling.connect(self.address)
            _send(telling, dict(more))

    @property
    def lives(self) -> bool:
        """Whether it can be asked for a build."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it; a build that is at work is cancelled."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _ask(address: str, arguments: Sequence[str]) -> int:
    """Have the process build, with the environment, the folder and the output of this one; returns how that ended."""
    request = [arguments, environment.for_dbt(os.environ), os.getcwd()]
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(address)
            _send(asked, request, [sys.stdout.fileno(), sys.stderr.fileno()])
            (builder,) = _NUMBER.unpack(_read(asked, _NUMBER.size))
            # dbt cancels its queries when it is interrupted.
            signal.signal(signal.SIGINT, lambda *_: os.kill(builder, signal.SIGINT))
            (status,) = _NUMBER.unpack(_read(asked, _NUMBER.size))
        except OSError as error:
            sys.stdout.write(f"The process that has dbt in memory is gone: {error}\n")
            return _GONE
    return int(status)


def _serve(listener: socket.socket) -> None:
    """Build for whoever asks, one after the other, until stdin ends."""
    # Whoever was started in the background of a shell has been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    imported, ended = threading.Event(), threading.Event()
    threading.Thread(target=_end_with_stdin, args=(imported, ended), daemon=True).start()
    # dbt's locks start it, at the first build; it would keep that build's output open.
    multiprocessing.resource_tracker.ensure_running()
    gc.disable()
    from dbt.cli.main import cli

    _connect_by_url()
    # What is imported stays: nobody has to look for garbage among it.
    gc.freeze()
    gc.enable()
    imported.set()
    more: dict[str, str] = {}
    while not ended.is_set():
        asking, _ = listener.accept()
        with asking, suppress(OSError):  # who asked may be gone
            size, outputs, _, _ = socket.recv_fds(asking, _NUMBER.size, 2)
            request = json.loads(_read(asking, *_NUMBER.unpack(size)))
            if not outputs:
                more = request
                continue
            arguments, own, folder = request
            asking.sendall(_NUMBER.pack(os.getpid()))
            with _as({**own, **more}, folder, outputs):
                sys.argv = ["dbt", *arguments]
                try:
                    cli(prog_name="dbt")
                except SystemExit as end:
                    status = end.code if isinstance(end.code, int) else int(end.code is not None)
            asking.sendall(_NUMBER.pack(status))


def _end_with_stdin(imported: threading.Event, ended: threading.Event) -> NoReturn:
    sys.stdin.buffer.read()
    ended.set()
    if not imported.is_set():
        # There is nothing to cancel; and an interrupt in the body of a class comes out as a RuntimeError.
        os._exit(_GONE)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(_CANCELLED_SECONDS)
    os._exit(_GONE)


@contextmanager
def _as(variables: Mapping[str, str], folder: str, outputs: Sequence[int]) -> Iterator[None]:
    """Be in an environment and a folder, with outputs for stdout and stderr."""
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
            # Whoever reads the output of the build reads its end.
            os.dup2(output, number)
            os.close(output)


def _connect_by_url() -> None:
    """Have dbt connect by the URL that the loader connects by, where it is told one.

    dbt's profile has a place for a dozen of libpq's parameters, and sets some that a URL leaves to the environment. The
    same URL in the same environment means the same to each libpq: hosts, certificates, passwords, options.
    """
    import psycopg2

    by_profile = psycopg2.connect

    def connect(**profile: Any) -> Any:
        url = os.environ.get(WAREHOUSE_URL)
        # Text is UTF-8, whatever the role, the database or the URL say.
        always = {"client_encoding": "UTF8", "fallback_application_name": "dbt"}
        return by_profile(url, **always) if url else by_profile(**profile)

    psycopg2.connect = connect


def _send(asked: socket.socket, request: Any, outputs: Sequence[int] = ()) -> None:
    written = json.dumps(request).encode()
    socket.send_fds(asked, [_NUMBER.pack(len(written))], outputs)
    asked.sendall(written)


def _read(asked: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = asked.recv(size - len(read))
        if not more:
            raise ConnectionError("it has ended")
        read += more
    return read


def main() -> None:
    """Run dbt with the arguments of this command: in the process that is kept, where there is one."""
    address = os.environ.get(ADDRESS)
    if sys.argv[1:2] == [ADDRESS]:
        with socket.socket(fileno=int(sys.argv[2])) as listener, suppress(KeyboardInterrupt):
            _serve(listener)
        # Who has something to tidy up does so; the system takes back the rest sooner than Python gives it.
        atexit._run_exitfuncs()
        os._exit(0)
    elif address:
        raise SystemExit(_ask(address, sys.argv[1:]))
    else:
        from dbt.cli.main import cli

        _connect_by_url()
        cli(prog_name="dbt")


if __name__ == "__main__":
    main()
