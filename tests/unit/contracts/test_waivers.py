"""Waivers: what is understood, and what is refused with the place and the reason."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.waivers import WaiversError, parse, why_not_waivable
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CLEANSED, WAIVABLE
from tests.support.calendars import calendar_in

_BEGINS_AT = calendar_in("UTC").begins_at
SOUND = {
    "table": '"order_items"',
    "rule": '"discount_negative"',
    "key": '"o / 1 / 3"',
    "reason": '"Goodwill"',
    "owner": '"shop"',
    "granted": "2026-03-01",
    "expires": "2027-03-02",
}


def entry(**changes: str | None) -> str:
    fields = {**SOUND, **changes}
    return "\n".join(["[[waiver]]", *(f"{name} = {value}" for name, value in fields.items() if value is not None), ""])


def test_waiver_ends_with_its_date_in_the_time_zone() -> None:
    (found,) = parse(entry(), "waivers.toml", calendar_in("Europe/Berlin").begins_at, CLEANSED, WAIVABLE)
    assert (found.table, found.rule, found.key) == ("order_items", "discount_negative", "o / 1 / 3")
    assert (found.reason, found.owner, found.granted) == ("Goodwill", "shop", date(2026, 3, 1))
    assert found.until == datetime(2027, 3, 2, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": '"order_lines"'}, "found table 'order_lines'; expected one of customers, products"),
        ({"table": "7"}, "table is 7; expected text"),
        (
            {"rule": '"total_price_odd"'},
            "no rule 'total_price_odd'; expected one that can be waived: quantity_not_positive",
        ),
        ({"rule": '"quantity_missing"'}, "quantity_missing cannot be waived: the value is missing"),
        ({"rule": '"order_unknown"'}, "order_unknown cannot be waived: without its order"),
        ({"key": '"o"'}, "key is 'o'; expected order_id / line_number"),
        ({"key": '"o / x"'}, "key is 'o / x'; expected order_id / line_number"),
        ({"key": None}, "key is missing"),
        ({"reason": None}, "reason is missing: why the row may stay"),
        ({"reason": '"  "'}, "reason is missing"),
        ({"owner": None}, "owner is missing"),
        ({"expires": None}, "expires is missing"),
        ({"expires": '"2026-09-01"'}, "expires is '2026-09-01'; expected a date without quotes"),
        ({"expires": "2026-09-01T00:00:00Z"}, "expected a date without quotes"),
        ({"expires": "2027-03-03"}, "expires is 2027-03-03; expected a date within a year of granted, 2026-03-01"),
        ({"expires": "2026-02-28"}, "expected a date within a year of granted"),
        ({"owners": '"shop"'}, "found owners; expected table, rule"),
    ],
)
def test_invalid_waiver_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WaiversError) as raised:
        parse(
            "\n".join(["# ours\n", entry(key='"o / 2"'), entry(**changes)]),
            "waivers.toml",
            _BEGINS_AT,
            CLEANSED,
            WAIVABLE,
        )
    first, problem = str(raised.value).splitlines()
    assert first == "waivers.toml cannot be used:"
    assert problem.startswith("  waiver 2 (line 12): ")
    assert said in problem


def test_every_problem_is_listed_and_duplicates_by_both_places() -> None:
    with pytest.raises(WaiversError) as raised:
        parse(entry() + entry(reason='"Again"', owner=None), "waivers.toml", _BEGINS_AT, CLEANSED, WAIVABLE)
    assert str(raised.value).splitlines()[1:] == [
        "  waiver 2 (line 9): owner is missing: who is responsible for it",
        "  waiver 2 (line 9): the same table, rule and key as waiver 1 (line 1); expected one entry for them",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[waiver]\n", "waivers.toml is not valid TOML: "),
        ("[waiver]\n", "found waiver, once; expected only entries"),
        ("[[waivers]]\n", "found waivers; expected only entries"),
    ],
)
def test_another_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(WaiversError, match=r"expected|TOML") as raised:
        parse(text, "waivers.toml", _BEGINS_AT, CLEANSED, WAIVABLE)
    assert said in str(raised.value)


def test_every_rule_is_declared_waivable_or_not() -> None:
    reasons = {rule.reason for table in CLEANSED for rule in rules_of(table.model)}
    assert reasons >= WAIVABLE
    assert {reason for reason in reasons if why_not_waivable(reason, WAIVABLE) is None} == WAIVABLE


def test_undeclared_rule_cannot_be_waived() -> None:
    assert why_not_waivable("weight_not_positive", WAIVABLE) == "its table does not declare it as waivable"


def test_example_of_the_project_is_valid() -> None:
    text = (PROJECT / "waivers.toml").read_text()
    assert parse(text, "waivers.toml", _BEGINS_AT, CLEANSED, WAIVABLE) == ()
    example = text.partition("#\n")[2].replace("# ", "")
    assert len(parse(example, "waivers.toml", _BEGINS_AT, CLEANSED, WAIVABLE)) == 1


def test_page_lists_waivable_rules() -> None:
    page = (PROJECT / "docs" / "quarantine.md").read_text()
    for table in CLEANSED:
        waivable = dict.fromkeys(rule.reason for rule in rules_of(table.model) if rule.reason in WAIVABLE)
        named = ", ".join(f"`{reason}`" for reason in waivable)
        assert f"| `{table.name}` | {named} |" in page
    assert len(parse(page.partition("```toml\n")[2].partition("```")[0], "docs", _BEGINS_AT, CLEANSED, WAIVABLE)) == 1
