"""The `lakehouse` command, run in a process as a person runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from orders_lakehouse.delta.tables import Lake
from tests.support.lakehouse import Lakehouse

# The command of the environment that runs the tests.
LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))
# Arguments and environment to exit status, output and errors.
Command = Callable[..., tuple[int, str, str]]


def command_line(arguments: list[str], *, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the `lakehouse` command to its end."""
    return subprocess.run(
        [LAKEHOUSE, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@dataclass
class Terminal:
    """A lakehouse that tests use by its command.

    Attributes:
        home: LAKEHOUSE_HOME.
        shop_url: Database of the shop.
        warehouse_url: Database of the warehouse.
    """

    home: Path
    shop_url: str
    warehouse_url: str
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the command."""
        return {
            "LAKEHOUSE_HOME": str(self.home),
            "SHOP_DATABASE_URL": self.shop_url,
            "WAREHOUSE_DATABASE_URL": self.warehouse_url,
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return command_line([*arguments], **{**self.environment, **environment})

    def start(self, *arguments: str, log: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start the command in a process group of its own; it prints to stdout and stderr, or to a log."""
        with log.open("w") if log else nullcontext(subprocess.PIPE) as out:
            process = subprocess.Popen(
                [LAKEHOUSE, *arguments],
                env={**os.environ, **self.environment, **environment},
                stdout=out,
                stderr=subprocess.STDOUT if log else subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def inspect(self) -> Lakehouse:
        """Return the same lakehouse, for inspection."""
        return Lakehouse(self.shop_url, self.warehouse_url, Lake(str(self.home / "lake"), "UTC"), None)
