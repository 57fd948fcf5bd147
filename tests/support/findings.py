"""Findings of the pull request checks."""

from datetime import date
from decimal import Decimal

import polars as pl

from pr_checks.difference import compare, restated
from pr_checks.report import Findings

JUDGED = {
    "asset": pl.String,
    "check_name": pl.String,
    "date": pl.Date,
    "passed": pl.Boolean,
    "severity": pl.String,
    "expected": pl.String,
    "found": pl.String,
    "detail": pl.String,
}
LINES = pl.DataFrame({"order_id": ["o1", "o2"], "total_price": [1, 2]})
SALES = pl.DataFrame(
    {
        "order_date": [date(2017, 1, 1), date(2017, 1, 2), date(2017, 1, 2)],
        "currency": ["USD", "USD", "EUR"],
        "net": [Decimal("100.00"), Decimal("300.00"), Decimal("5.00")],
    }
)
HOLDS = {"asset": "cleansed/orders", "check": "orders_contract", "passed": True, "severity": "ERROR"}
CHECK = ("cleansed/orders", "orders_contract")

NOTHING = Findings(
    base="0123456789abcdef",
    change="fedcba9876",
    dates=(date(2017, 1, 1), date(2017, 1, 31)),
    reached={},
    made=(),
    untracked=(),
    declared_before=[CHECK],
    declared=[CHECK],
    checks_before=[HOLDS],
    checks=[HOLDS],
    judged=pl.DataFrame(schema=JUDGED),
    errors={},
    tables=[compare("curated/order_lines", LINES, LINES, ["order_id"])],
    contracts=(),
    breaks=(),
    restated=restated(SALES, SALES, "currency", "net"),
    models=(),
    following=(),
    seconds={"base: run": 30.2},
)
