"""Lakehouses that one worker makes, and that tests of all workers copy."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

from orders_lakehouse.delta.tables import Lake
from tests.support.lakehouse import Lakehouse
from tests.support.session import SESSION


def standing(name: str, make: Callable[[Path], Lakehouse]) -> Lakehouse:
    """Return the lakehouse of a name, which must not be changed; the first caller of all workers makes it.

    Args:
        name: A name of its own.
        make: Makes the lakehouse, with its lake in a folder `lake` of the given one.
    """
    home = Path(os.environ[SESSION], "standing", name)
    home.mkdir(parents=True, exist_ok=True)
    urls = home / "urls.json"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not urls.exists():
            made = make(home)
            urls.write_text(json.dumps([made.shop_url, made.warehouse_url]))
    return Lakehouse(*json.loads(urls.read_text()), Lake(str(home / "lake"), "UTC"), None)
