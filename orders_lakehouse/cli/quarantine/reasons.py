"""Explanations of the reasons of rows in quarantine: what their rules demand, and the next step."""

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.children import OF_THE_ORDER, ORDERED_BEFORE_START
from orders_lakehouse.tables import WAIVABLE

WAIT, FIX, FIX_OR_WAIVE, WORD, BEGIN = "wait", "fix", "fix, waive", "word", "begin"
MEANING = {
    WAIT: "goes away by itself, when the order comes or leaves quarantine",
    FIX: "correct it in the shop, then run its date again",
    FIX_OR_WAIVE: "correct it in the shop, or waive the rule for the row",
    BEGIN: (
        "nothing is wrong: the lakehouse begins later. To have it, set LAKEHOUSE_START_DATE to an earlier date and run "
        "`lakehouse migrate`"
    ),
    WORD: "the contract does not know the word: add it there (docs/contracts.md), or offer a view with one it knows",
}


def to_do(reason: str) -> str:
    """Return the next step for rows with a reason: a key of `MEANING`."""
    if reason in OF_THE_ORDER:
        return WAIT
    if reason == ORDERED_BEFORE_START:
        return BEGIN
    # The row has a word that the contract does not list.
    if reason.endswith("_not_in_list"):
        return WORD
    return FIX_OR_WAIVE if reason in WAIVABLE else FIX


def demand_of(table: Table, reason: str) -> str:
    """Return what the rules of a reason demand."""
    demands = [rule.description.rstrip(".") for rule in rules_of(table.model) if rule.reason == reason]
    # The longest description includes the others, such as "present" and "present and not blank".
    return max(demands, key=len, default="a rule that the contract no longer has")
