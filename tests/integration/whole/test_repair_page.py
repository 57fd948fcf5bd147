"""`docs/repair.md`, followed to the letter by somebody whose Tuesday is wrong."""

import re
import shlex

import pytest

from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.settings import PROJECT
from tests.support.late_changes import SHOP
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.either_engine]

# The dates of the page, in the shop of the test.
DATES = {"2026-11-24": "2017-01-03", "2026-11-01": "2017-01-01", "2026-11-30": "2017-01-31"}
PAGE = re.sub("|".join(DATES), lambda day: DATES[day[0]], (PROJECT / "docs" / "repair.md").read_text())
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("lakehouse ")
]


def test_last_tuesday_is_repaired_by_the_page(terminal: Terminal) -> None:
    looked_at = terminal.inspect()
    looked_at.shop(SHOP)
    looked_at.oracle.look()
    assert terminal.run("backfill", "2017-01-01", "2017-01-09").returncode == 0
    assert looked_at.wrong_marts() == {}

    # Somebody corrects an order without moving its clock; somebody else empties the day in the lake.
    looked_at.shop("UPDATE shop.order_items SET quantity = 7 WHERE order_id = 'corrected quietly'")
    looked_at.lake.find(ORDER_LINES).delete("order_date = '2017-01-03'")
    assert set(looked_at.wrong_curated()) == {"order_lines", "daily_sales", "customer_profile"}

    said = [(command, terminal.run(*command)) for command in COMMANDS]

    status = {" ".join(command): done.returncode for command, done in said[:3]}
    assert status == {"checks --failed": 0, "checks --date 2017-01-03": 0, "reconcile": 1}
    assert "raw/order_items on 2017-01-03: 1 different from raw (corrected quietly / 1)" in said[2][1].stdout
    assert [(command, done.stderr) for command, done in said[3:] if done.returncode != 0] == []
    assert "The shop and raw agree, row by row, except" in said[5][1].stdout
    assert "No check fails" in said[6][1].stdout
    assert "No entry was missing." in said[-2][1].stdout
    assert looked_at.wrong_curated() == {}
    assert looked_at.wrong_marts() == {}
