"""Which engine computes is asked in one place."""

import re
from pathlib import Path

import orders_lakehouse

PACKAGE = Path(orders_lakehouse.__file__).parent
# The job of a cluster is given its session.
MAY_KNOW = {"pipeline/emr_job.py"}
ASKS = re.compile(r"is_spark_like|is_polars|Implementation\.|engines\.spark|engines import spark")


def test_no_module_outside_engines_asks_which_one_computes() -> None:
    modules = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    asking = {name for name, text in modules.items() if ASKS.search(text)}
    assert {name for name in asking if not name.startswith("delta/engines/")} == MAY_KNOW
