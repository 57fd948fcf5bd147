"""Parse waivers: rows that may break a rule of their contract, each by its key, with a reason and an expiry.

They are written in TOML, under version control, one entry for a rule and a row:

    [[waiver]]
    table = "order_items"
    rule = "total_price_negative"
    key = "10442 / 3"
    reason = "A refund that was booked as a discount; finance has accepted it."
    owner = "shop-operations"
    granted = 2026-03-01
    expires = 2026-09-01

An expiry is compared with the row's own `captured_at`, never with today. A version captured after it is judged again,
and one captured before it stays waived. So a date depends on raw and the waivers alone.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import ExpectedError

# Separator of the parts of a key of several columns, also in the output of checks.
KEY_SEPARATOR = " / "
_LONGEST = timedelta(days=366)
_ENTRY = re.compile(r"\s*\[\[\s*waiver\s*\]\]")
_FIELDS: Mapping[str, str] = {
    "table": "the table, such as order_items",
    "rule": "the reason that the row has in quarantine",
    "key": "the row's key",
    "reason": "why the row may stay unchanged",
    "owner": "who is responsible for it",
    "granted": "the date on which it was granted",
    "expires": "the last date on which a version of the row may be captured and still be waived",
}
_DATES = ("granted", "expires")

_MISSING = "the value is missing, and later tables refuse a null"
_UNREADABLE = "no column can hold the number"
_WARNS = "it neither rejects a row nor removes a value: it only warns"
_NOT_DECLARED = "its table does not declare it as waivable"
_OUR_OWN = "it judges a column that the lakehouse itself writes"
_REFUSED: Mapping[str, str] = {
    "status_not_in_list": "the marts are tested for these states, and what counts as a sale depends on them",
    "method_not_in_list": "dim_payment_methods has no such member, and fct_orders would have no key for it",
    "text_not_utf8": "the text differs from the shop's: a key with it would match no other row",
    "updated_at_in_future": "the change clock decides which version counts: this one would hide its corrections",
    "ordered_before_start": "its date is no partition: the lakehouse begins later",
    "ordered_at_out_of_range": "its date is no partition: it would be a sale of the day on which it was captured",
    "total_price_out_of_range": "the total cannot be computed, and later tables refuse a null",
    "order_unknown": "without its order it belongs to no date and no customer; it returns with its order",
    "order_quarantined": "it returns with its order; correct or waive that",
    "order_before_start": "it returns with its order, once the lakehouse begins earlier",
    "unit_price_without_currency": "a price without a currency means nothing",
    "key_not_unique": "nothing says which of the rows counts",
    "shipped_at_out_of_range": "an event that has not happened has no time",
    "delivered_at_out_of_range": "an event that has not happened has no time",
    "paid_at_out_of_range": "an event that has not happened has no time",
    "currency_not_of_order": _WARNS,
    "shipped_before_ordered": _WARNS,
    "delivered_before_shipped": _WARNS,
    "order_state_not_in_list": _OUR_OWN,
    "versions_below_1": _OUR_OWN,
}


class WaiversError(ExpectedError):
    """The waivers cannot be parsed, or cannot be granted."""


@dataclass(frozen=True)
class Waiver:
    """A row that may break a rule.

    Attributes:
        table: Name of the cleansed table.
        rule: Name of the rule, as in `reasons`.
        key: The row's key as text; its parts are joined by " / ".
        reason: Reason for the waiver.
        owner: Person or team that is responsible for it.
        granted: Date on which it was granted, at most a year before it expires.
        expires: Last date on which a version may be captured and still be waived.
        until: The instant at which that date ends.
    """

    table: str
    rule: str
    key: str
    reason: str
    owner: str
    granted: date
    expires: date
    until: datetime


def why_not_waivable(rule: str, waivable: Collection[str]) -> str | None:
    """Return why a rule cannot be waived: what would break downstream; None if it can be waived.

    Args:
        rule: Name of the rule.
        waivable: Names of the rules that entities declare as waivable.
    """
    if rule in waivable:
        return None
    if rule.endswith("_missing"):
        return _MISSING
    if rule.endswith("_has_unseen_characters"):
        return _WARNS
    if rule not in _REFUSED and rule.endswith(("_too_precise", "_out_of_range")):
        return _UNREADABLE
    return _REFUSED.get(rule, _NOT_DECLARED)


def parse(
    text: str,
    name: str,
    begins_at: Callable[[date], datetime],
    cleansed: Sequence[Table],
    waivable: Collection[str],
) -> tuple[Waiver, ...]:
    """Parse waivers.

    Args:
        text: TOML.
        name: Name of the file in messages.
        begins_at: Returns when a date begins, by the calendar of the lake; a waiver ends when the next date begins.
        cleansed: The tables whose rows can be waived.
        waivable: Names of the rules that can be waived.

    Returns:
        The waivers, in their order.

    Raises:
        WaiversError: An entry cannot be parsed or granted; the message has every such entry, its line, and what is
            expected.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WaiversError(f"{name} is not valid TOML: {error}") from None
    entries = content.pop("waiver", [])
    if content or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found = ", ".join(content) or "waiver, once"
        raise WaiversError(f"{name}: found {found}; expected only entries that begin with [[waiver]]")
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if _ENTRY.match(line)]
    # Lines are known only if each entry has its own [[waiver]] heading.
    places = [f"line {line}" for line in lines] if len(lines) == len(entries) else [""] * len(entries)
    labels = [f"waiver {n} ({place})" if place else f"waiver {n}" for n, place in enumerate(places, start=1)]
    tables = {table.name: table for table in cleansed}
    problems = [
        f"{place}: {problem}"
        for place, entry in zip(labels, entries, strict=True)
        for problem in _problems(entry, tables, waivable)
    ]
    problems += [f"{place}: {problem}" for place, problem in _duplicates(labels, entries)]
    if problems:
        raise WaiversError("\n  ".join([f"{name} cannot be used:", *problems]))
    return tuple(Waiver(**entry, until=begins_at(entry["expires"] + timedelta(days=1))) for entry in entries)


def _problems(entry: Mapping[str, Any], tables: Mapping[str, Table], waivable: Collection[str]) -> Iterator[str]:
    unknown = sorted(set(entry) - set(_FIELDS))
    if unknown:
        yield f"found {', '.join(unknown)}; expected {', '.join(_FIELDS)}"
    wrong = {name: problem for name in _FIELDS if (problem := _problem_of_field(name, entry.get(name)))}
    yield from wrong.values()
    if "table" not in wrong and entry["table"] not in tables:
        yield f"found table {entry['table']!r}; expected one of {', '.join(tables)}"
    elif "table" not in wrong:
        table = tables[entry["table"]]
        if "rule" not in wrong:
            yield from _problems_of_rule(entry["rule"], table, waivable)
        if "key" not in wrong and not _fits(entry["key"], table):
            yield f"key is {entry['key']!r}; expected {KEY_SEPARATOR.join(table.key)}"
    if wrong.keys().isdisjoint(_DATES) and not entry["granted"] <= entry["expires"] <= entry["granted"] + _LONGEST:
        yield f"expires is {entry['expires']}; expected a date within a year of granted, {entry['granted']}"


def _problem_of_field(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{name} is missing: {_FIELDS[name]}"
    if name in _DATES:
        # A datetime is a subclass of date, so isinstance would accept it.
        return None if type(value) is date else f"{name} is {value!r}; expected a date without quotes: 2026-03-01"
    return None if isinstance(value, str) else f"{name} is {value!r}; expected text, in quotes"


def _problems_of_rule(rule: str, table: Table, waivable: Collection[str]) -> Iterator[str]:
    rules = dict.fromkeys(rule_of_table.reason for rule_of_table in rules_of(table.model))
    if rule not in rules:
        named = ", ".join(name for name in rules if name in waivable)
        yield f"{table.name} has no rule {rule!r}; expected one that can be waived: {named}"
    elif (why := why_not_waivable(rule, waivable)) is not None:
        yield f"{rule} cannot be waived: {why}"


def _fits(key: str, table: Table) -> bool:
    """Return whether a text has the parts of a key; the first part may contain the separator, numbers do not."""
    _, *numbers = key.rsplit(KEY_SEPARATOR, len(table.key) - 1)
    return len(numbers) == len(table.key) - 1 and all(re.fullmatch(r"-?[0-9]+", number) for number in numbers)


def _duplicates(labels: Sequence[str], entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for place, entry in zip(labels, entries, strict=True):
        subject = str([entry.get(name) for name in ("table", "rule", "key")])
        if subject in first:
            yield place, f"the same table, rule and key as {first[subject]}; expected one entry for them"
        first.setdefault(subject, place)
