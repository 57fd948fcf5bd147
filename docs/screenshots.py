"""Take the pictures in docs/pictures: Dagster's pages after a range of dates with a broken date.

The script creates a lakehouse of its own with the sample shop, breaks one date of the shop, and runs a range: with that
date, which fails, and without it. It needs Chromium. `make pictures` runs it, in about four minutes.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psutil

from orders_lakehouse.postgres.embedded import embedded_server, remove_embedded_server, stop_embedded_server
from orders_lakehouse.sample_shop.sample import load_sample_shop
from tests.support.browser import Browser, browser, wait_for

PROJECT = Path(__file__).resolve().parents[1]
PICTURES = PROJECT / "docs" / "pictures"
LAKEHOUSE = Path(sys.executable).with_name("lakehouse")
# An order is captured when it last changed, up to some weeks after it was placed. So raw extends beyond the range.
FIRST, LAST, CAPTURED = date(2017, 1, 1), date(2017, 1, 24), date(2017, 2, 28)
BROKEN = date(2017, 1, 11)
BREAK = """
    update shop.order_items set quantity = -quantity
    where quantity > 0 and order_id in (select order_id from shop.orders where ordered_at::date = %s)
"""


class Page(NamedTuple):
    """A page to take a picture of.

    Attributes:
        path: Path of the page.
        text: Text that the page shows once it is ready.
        height: Height of the picture.
        click: Text of the element to click then.
    """

    path: str
    text: str
    height: int
    click: str = ""


PAGES = {
    "lineage": Page(
        "/assets/marts/fct_order_lines?view=lineage&lineageScope=upstream&lineageDepth=9", "fct_order", 900
    ),
    "checks": Page("/assets/cleansed/order_items?view=checks&checkDetail=rejected_share", "to_do", 900),
    "quarantine": Page(f"/assets/cleansed/order_items?view=partitions&partition={LAST}", "quarantine_sample", 1300),
    "partitions": Page(f"/assets/curated/order_lines?view=partitions&partition={BROKEN}", "Missing", 680),
    "daily_sales": Page("/assets/curated/daily_sales", "by_date", 900, click="[Show Markdown]"),
}
_PATIENCE = 120.0


def own_lakehouse(home: Path) -> None:
    """Make every command use a home and embedded databases, whatever the environment or a `.env` says."""
    for name in [name for name in os.environ if name.startswith(("LAKEHOUSE_", "AWS_"))]:
        del os.environ[name]
    socket = quote(embedded_server(home), safe="/")
    os.environ |= {
        "LAKEHOUSE_HOME": str(home),
        "LAKE_URL": str(home / "lake"),
        "DAGSTER_HOME": str(home / "dagster"),
        "LAKEHOUSE_SENSORS": "stopped",
        **{
            f"{name.upper()}_DATABASE_URL": f"postgresql://postgres@/{name}?host={socket}"
            for name in ("shop", "warehouse")
        },
    }


def build(home: Path) -> None:
    """Load the shop, break a date, and run the range with it and without it."""
    load_sample_shop(os.environ["SHOP_DATABASE_URL"], report=print)
    _break(os.environ["SHOP_DATABASE_URL"])
    _lakehouse("backfill", FIRST, CAPTURED, "--job", "refresh_raw_job")
    _lakehouse("backfill", FIRST, LAST, fails=True)
    _lakehouse("backfill", FIRST, LAST, "--without", BROKEN)
    print(f"Built in {home}.")


def _break(url: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(BREAK, (BROKEN,))
        print(f"Broke {cursor.rowcount} lines of {BROKEN}.")


def _lakehouse(*arguments: object, fails: bool = False) -> None:
    ended = subprocess.run([LAKEHOUSE, *map(str, arguments)], check=False)  # noqa: S603
    if (ended.returncode != 0) != fails:
        raise SystemExit(f"`lakehouse {' '.join(map(str, arguments))}` ended with status {ended.returncode}")


@contextmanager
def user_interface() -> Iterator[str]:
    """Start Dagster's UI on a free port, and stop everything that it started."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    process = psutil.Popen(
        [LAKEHOUSE, "dev", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _listens(port), lambda: f"nothing listens at port {port}", _PATIENCE)
        yield f"http://127.0.0.1:{port}"
    finally:
        # The code servers outlive the command that started them.
        family = [process, *process.children(recursive=True)]
        for member in family:
            with _gone_already():
                member.terminate()
        for survivor in psutil.wait_procs(family, timeout=15)[1]:
            with _gone_already():
                survivor.kill()


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def picture(tab: Browser, url: str, page: Page) -> bytes:
    """Return a page as PNG, once it shows its text."""
    tab.resize(page.height)
    tab.open(url + page.path, page.text, seconds=_PATIENCE)
    time.sleep(4)
    if page.click:
        tab.click(page.click)
        time.sleep(2)
    return tab.picture()


def main() -> None:
    """Build the lakehouse, take the pictures, and clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="A lakehouse that an earlier call created; it is not changed.")
    parser.add_argument("--keep", action="store_true", help="Keep the created lakehouse for another call.")
    parser.add_argument(
        "pictures", nargs="*", metavar="PICTURE", help=f"Pictures to take: {', '.join(PAGES)}; all by default."
    )
    given = parser.parse_args()
    home = given.home or Path(tempfile.gettempdir()) / "lakehouse"
    if given.home is None and home.exists():
        raise SystemExit(f"{home} exists; remove it, or use it with --home")
    own_lakehouse(home)
    try:
        if given.home is None:
            build(home)
        PICTURES.mkdir(exist_ok=True)
        with user_interface() as url, browser() as tab:
            for name in given.pictures or PAGES:
                size = (PICTURES / f"{name}.png").write_bytes(picture(tab, url, PAGES[name]))
                print(f"docs/pictures/{name}.png: {size / 1000:.0f} kB")
    finally:
        stop_embedded_server(home)
        if given.home is None and not given.keep:
            remove_embedded_server(home)
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
