"""`lakehouse quarantine`: what was rejected and why, and how it is corrected."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

import click
import narwhals as nw
import polars as pl
from rich.padding import Padding
from rich.text import Text

from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DERIVE_JOB
from orders_lakehouse.cli.formatting import console, grid, program, safe, show_json, show_rows
from orders_lakehouse.contracts.base import columns_of, personal_columns, rules_of
from orders_lakehouse.contracts.lineage import origins
from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR, WAIVABLE
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.children import OF_THE_ORDER, ORDER_BEFORE_START, ORDER_QUARANTINED, ORDERED_BEFORE_START
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.key_index import versions_of_row
from orders_lakehouse.pipeline.quarantine import Chosen, by_reason, quarantined
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import Standing, State, configured_waivers, standings
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres.source_lag import orders_in_shop
from orders_lakehouse.tables import CLEANSED, DIMENSIONS, QUARANTINE_OF, RAW_OF
from orders_lakehouse.transforms.split import key_of_row

Format = Literal["csv", "json", "parquet"]

# What a spreadsheet takes for a formula gets a quote before it, and so does what already has quotes before such a sign:
# one quote less is the value, and a value without a formula is never changed.
_FORMULA = r"^'*[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 (the wide forms of the same signs)
_NEGATIVE_NUMBER = r"^-[0-9]+(\.[0-9]+)?$"

_WAIT, _FIX, _FIX_OR_WAIVE, _WORD, _BEGIN = "wait", "fix", "fix, waive", "word", "begin"
# How the reasons of rows end that say something in a word that the contract does not list.
_UNKNOWN_WORD = "_not_in_list"
_MEANING = {
    _WAIT: "goes away by itself, when the order comes or leaves quarantine",
    _FIX: "correct it in the shop, then run its date again",
    _FIX_OR_WAIVE: "correct it in the shop, or waive the rule for the row",
    _BEGIN: (
        "nothing is wrong: the lakehouse begins later. To have it, set LAKEHOUSE_START_DATE to an earlier date and run "
        "`lakehouse migrate`"
    ),
    _WORD: "the contract does not know the word: add it there (docs/contracts.md), or offer a view with one it knows",
}
_MEANING_OF_STATE = {
    State.IN_FORCE: "rows stand by it",
    State.EXPIRED: "rows that were captured since are judged again",
    State.TO_REPLAY: "its row is still in quarantine: replay",
    State.REJECTED_OTHERWISE: "its row is in quarantine for other reasons",
    State.STALE: "no row breaks the rule: the entry can go",
}
# By which versions of a row are told apart.
_CLOCKS = ("updated_at", "captured_at")
# Members of dimensions belong to the job that captures, by the date of their capture.
CAPTURED = DIMENSIONS


class QuarantineError(ExpectedError):
    """What is asked of the quarantine is not there."""


def choose(table: str | None, reason: str | None, day: date | None) -> Chosen:
    """Which rows are meant.

    Args:
        table: Name of a table, with or without its layer.
        reason: Name of a reason.
        day: Date at which the rows would count.

    Raises:
        QuarantineError: There is no such table or reason.
    """
    tables = CLEANSED if table is None else (_table(table),)
    known = {rule.reason for one in tables for rule in rules_of(one.model)}
    if reason is not None and reason not in known:
        raise QuarantineError(f"there is no reason {reason!r}; the reasons are {', '.join(sorted(known))}")
    return Chosen(tables, reason, day)


def _table(name: str) -> Table:
    tables = {table.name: table for table in CLEANSED}
    found = tables.get(re.sub(r"^(quarantine|cleansed)[./]", "", name))
    if found is None:
        raise QuarantineError(f"there is no table {name!r} with a quarantine; the tables are {', '.join(tables)}")
    return found


def list_reasons(chosen: Chosen, *, as_json: bool = False) -> None:
    """Print rows in quarantine by table and reason, and what waivers meet.

    Raises:
        WaiversError: The waivers cannot be used.
    """
    lake = configured_lake()
    found = count(lake, chosen)
    mine = {table.name for table in chosen.tables}
    waivers = [
        waiver for waiver in configured_waivers(lake) if waiver.table in mine and chosen.reason in (None, waiver.rule)
    ]
    waived = standings(lake, waivers, datetime.now(UTC).date())
    if as_json:
        told = {"reasons": list(_records(found)), "waivers": [_record(one) for one in waived]}
        show_json(told)
        return
    if found.is_empty():
        click.echo("Nothing is in quarantine" + (" of what was asked for." if chosen != Chosen() else "."))
    else:
        _show_reasons(found)
    _show_waivers(waived)


def count(lake: Lake, chosen: Chosen) -> pl.DataFrame:
    """Rows in quarantine by table and reason.

    Returns:
        table, reason, rows, dates (how many), first, last, since (of the oldest capture); tables in their order, the
        most frequent reason first.
    """
    frames = [
        by_reason(quarantined(lake, table, chosen), table)
        .group_by("reason")
        .agg(
            rows=pl.col("rows").sum(),
            dates=pl.col("date").n_unique(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
            since=pl.col("captured_at").min(),
        )
        .sort("rows", "reason", descending=[True, False])
        .select(pl.lit(table.name).alias("table"), pl.all())
        for table in chosen.tables
    ]
    found = pl.concat(frames)
    # Of rows that have other reasons beside it, those are not asked for.
    return found.filter(reason=chosen.reason) if chosen.reason else found


def _records(found: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in found.iter_rows(named=True):
        to_do = _to_do(row["reason"])
        yield {
            **row,
            "by_itself": to_do == _WAIT,
            "to_do": to_do,
            "demand": _demand(_table(row["table"]), row["reason"]),
        }


def _record(one: Standing) -> dict[str, Any]:
    waiver = {name: value for name, value in asdict(one.waiver).items() if name != "until"}
    return {**waiver, "state": one.state.value, "rows": one.rows}


def _to_do(reason: str) -> str:
    if reason in OF_THE_ORDER:
        return _WAIT
    if reason == ORDERED_BEFORE_START:
        return _BEGIN
    if reason.endswith(_UNKNOWN_WORD):
        return _WORD
    return _FIX_OR_WAIVE if reason in WAIVABLE else _FIX


def _demand(table: Table, reason: str) -> str:
    """What the rules of a reason demand."""
    said = [rule.description.rstrip(".") for rule in rules_of(table.model) if rule.reason == reason]
    # The longest says what the others do, and more: present, present and not blank.
    return max(said, key=len, default="a rule that the contract no longer has")


def _show_reasons(found: pl.DataFrame) -> None:
    terminal = console()
    shown = grid(dense=True)
    shown.add_column("table and reason", no_wrap=True)
    for heading in ("rows", "first", "last", "since"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("to do")
    for (table,), of_table in found.group_by("table", maintain_order=True):
        shown.add_row(f"[bold]{table}[/]")
        for row in of_table.iter_rows(named=True):
            dates = (str(day) for day in (row["first"], row["last"], row["since"].date()))
            shown.add_row(f"  {row['reason']}", f"{row['rows']:,}", *dates, _to_do(row["reason"]))
    terminal.print(shown)
    terminal.print()
    for to_do in dict.fromkeys(map(_to_do, found["reason"])):
        terminal.print(f"{to_do}: {_MEANING[to_do]}", style="dim")
    terminal.print(f"`{program()} quarantine show TABLE KEY` tells all of a row.", style="dim")


def _show_waivers(waived: Sequence[Standing]) -> None:
    if not waived:
        return
    terminal = console()
    terminal.print("\n[bold]Waivers[/]")
    for one in waived:
        waiver = one.waiver
        terminal.print(Text(safe(f"{waiver.table} {waiver.key}: {waiver.rule}")))
        _indented(f"{one.state.value}: {_MEANING_OF_STATE[one.state]}")
        _indented(f"until {waiver.expires}, {waiver.owner}: {waiver.reason}")


def _indented(text: str) -> None:
    console().print(Padding(Text(safe(text)), (0, 0, 0, 2), expand=False))


def show(table_name: str, key: str, *, unmasked: bool = False) -> None:
    """Print all that there is to say of a row in quarantine.

    Args:
        table_name: Name of its table.
        key: Its key as checks print it, such as `10442 / 3`.
        unmasked: Show personal values.

    Raises:
        QuarantineError: No row with that key is in quarantine; the message says where it is.
    """
    table, lake = _table(table_name), configured_lake()
    rows = _with_key(nw.from_native(quarantined(lake, table)), table, key).sort("captured_at", descending=True)
    if rows.is_empty():
        raise QuarantineError(_elsewhere(lake, table, key))
    personal = frozenset() if unmasked else personal_columns(QUARANTINE_OF[table.name].model)
    for row in masked(rows, personal).iter_slices(1):
        _show_row(table, key, row)
    values = rows.row(0, named=True)
    click.echo(f"\nIn the shop:\n  {safe(_select(table, values))}")
    _show_history(lake, table, values, personal)
    _show_next(table, key, rows)


def _with_key(rows: nw.LazyFrame[Any], table: Table, key: str) -> pl.DataFrame:
    return rows_of(rows.filter(key_of_row(table) == key))


def _elsewhere(lake: Lake, table: Table, key: str) -> str:
    if find(lake, table) is not None:
        dates = _with_key(lake.scan(table), table, key)[str(table.partitioned_by)].unique().sort()
        if dates.len():
            return f"{key!r} is not in quarantine: it stands in {table.path} on {', '.join(map(str, dates))}"
    columns = KEY_SEPARATOR.join(table.key)
    return f"{key!r} is neither in {QUARANTINE_OF[table.name].path} nor in {table.path}; expected {columns}"


def _show_row(table: Table, key: str, row: pl.DataFrame) -> None:
    """Why a row is in quarantine, and what it is."""
    values = row.row(0, named=True)
    day = values[str(table.partitioned_by)]
    heading = f"{table.name} {key}, {day}, rejected by version {values['contract_version']} of its contract"
    console().print(Text(safe(heading), style="bold"))
    for reason in values["reasons"].split(", "):
        _indented(f"{reason}: {_demand(table, reason)}")
        for column in _looked_at(table, reason):
            _indented(f"  {column} is {_as_literal(values[column])}")
    show_rows(row.drop("reasons", "contract_version"))


def _looked_at(table: Table, reason: str) -> list[str]:
    """Columns of the row as it came that the rules of a reason look at."""
    looked_at = [
        column for rule in rules_of(table.model) if rule.reason == reason for column in columns_of(rule, table.schema)
    ]
    made_of = origins(table)
    source = RAW_OF[table.name].columns
    found = [origin.column for column in looked_at for origin in made_of.get(column, ()) if origin.column in source]
    return list(dict.fromkeys(found))


def _as_literal(value: Any) -> str:
    """A value as SQL has it; what is blank is seen."""
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else "'{}'".format(str(value).replace("'", "''"))


def _select(table: Table, values: Mapping[str, Any]) -> str:
    is_row = " AND ".join(f"{name} = {_as_literal(values[name])}" for name in table.key)
    return f"SELECT * FROM shop.{table.name} WHERE {is_row};"


def _show_history(lake: Lake, table: Table, values: Mapping[str, Any], personal: frozenset[str]) -> None:
    """The versions of a row in raw: when they were made and captured, and what differs between them."""
    versions = versions_of_row(lake, RAW_OF[table.name], [str(values[name]) for name in table.key])
    content = [name for name in versions.columns if name not in (*_CLOCKS, *LINEAGE)]
    differing = [name for name in content if versions[name].n_unique() > 1]
    click.echo(f"\nIn raw: {versions.height} version{'' if versions.height == 1 else 's'}")
    show_rows(masked(versions, personal).select(*_CLOCKS, *differing))


def _show_next(table: Table, key: str, rows: pl.DataFrame) -> None:
    reasons = list(dict.fromkeys(reason for said in rows["reasons"] for reason in said.split(", ")))
    days = rows[str(table.partitioned_by)].unique().sort()
    if set(reasons) <= set(OF_THE_ORDER):
        return _show_its_order(rows, reasons)
    if reasons == [ORDERED_BEFORE_START]:
        return click.echo(f"\n{_MEANING[_BEGIN][0].upper()}{_MEANING[_BEGIN][1:]}.")
    if any(reason.endswith(_UNKNOWN_WORD) for reason in reasons):
        click.echo(f"\nThe shop may be right: {_MEANING[_WORD]}. Then derive its date again:")
        click.echo(f"  {program()} backfill {days[0]} {days[-1]} --job {DERIVE_JOB}")
    click.echo("\nOnce it is corrected in the shop, run the date of its new updated_at:")
    if table in CAPTURED:
        click.echo(f"  {program()} backfill DATE DATE")
        click.echo("A correction is a new version; this one stays in quarantine, and is of no effect.")
    else:
        click.echo(f"  {program()} backfill DATE DATE --job {CAPTURE_JOB}")
        click.echo("and then the date at which it counts, for it to leave quarantine:")
        for day in days:
            click.echo(f"  {program()} backfill {day} {day} --job {DERIVE_JOB}")
    if set(reasons) <= WAIVABLE:
        click.echo(f"\nOr waive it in {settings().waivers.name}, and then: {program()} quarantine replay")
        for reason in reasons:
            entry = {"table": table.name, "rule": reason, "key": key, "reason": "", "owner": ""}
            lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
            click.echo("\n".join(["", "[[waiver]]", *lines, "granted = ", "expires = "]))


def _show_its_order(rows: pl.DataFrame, reasons: Sequence[str]) -> None:
    """What a row waits for that breaks no rule itself."""
    order_ids = rows["order_id"].unique().sort()
    click.echo(f"\nIt needs no correction of its own: it comes back with its order, {safe(', '.join(order_ids))}.")
    if {ORDER_QUARANTINED, ORDER_BEFORE_START} & set(reasons):
        click.echo("Why the order is left out:")
        for order_id in order_ids:
            click.echo(safe(f"  {program()} quarantine show orders {shlex.quote(order_id)}"))
    else:
        click.echo("\n".join(_where_orders_are(order_ids.to_list())))


def _where_orders_are(order_ids: Sequence[str]) -> list[str]:
    """What the shop says of orders that raw does not have, and the dates that capture them."""
    lake = configured_lake()
    try:
        changed = orders_in_shop(order_ids, calendar_of(lake))
    except ExpectedError as error:
        return [f"The order has not been captured yet, or is not in the shop, which cannot be asked: {error}"]
    told = []
    for order_id in order_ids:
        day = changed.get(order_id)
        if day is None:
            told.append(f"Neither the shop nor raw has the order {safe(order_id)}.")
        else:
            told.append(
                f"The shop has the order {safe(order_id)}, last changed on {day}, and raw does not. Capture it:"
            )
            told.append(f"  {program()} backfill {day} {day}")
    return told


def export(chosen: Chosen, folder: Path, form: Format, *, unmasked: bool = False) -> None:
    """Write rows in quarantine, with what their rules demand, to a file for each table that has some.

    Args:
        chosen: Which rows.
        folder: Where the files are written; it is made if need be.
        form: Their format, which is also how their names end.
        unmasked: Write personal values.

    Raises:
        QuarantineError: There is nothing to write, or the folder cannot be written to.
    """
    lake = configured_lake()
    written = []
    for table in chosen.tables:
        rows = rows_of(nw.from_native(quarantined(lake, table, chosen)))
        if rows.height:
            personal = frozenset() if unmasked else personal_columns(QUARANTINE_OF[table.name].model)
            path = folder / f"{table.name}.{form}"
            _write(_explained(table, masked(rows, personal)), path, form)
            written.append(f"{path}: {rows.height:,} row{'' if rows.height == 1 else 's'}")
    if not written:
        raise QuarantineError("nothing is in quarantine of what was asked for: no file was written")
    click.echo("\n".join(written))


def _explained(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Key, reasons and what they demand, then the row as it came."""
    said = rows["reasons"].unique().to_list()
    demands = ["; ".join(_demand(table, reason) for reason in reasons.split(", ")) for reasons in said]
    first = [*table.key, "reasons", "demanded"]
    explained = rows.with_columns(demanded=pl.col("reasons").replace_strict(said, demands, return_dtype=pl.String))
    return explained.select(*first, pl.exclude(first)).sort(str(table.partitioned_by), *table.key)


def _guarded(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for a spreadsheet, which takes no text of theirs for a formula."""
    text = pl.col(pl.String)
    return rows.with_columns(
        pl.when(text.str.contains(_NEGATIVE_NUMBER)).then(text).otherwise(text.str.replace(_FORMULA, "'${0}"))
    )


def _write(rows: pl.DataFrame, path: Path, form: Format) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A new file, which nobody else can read, whatever the mode of the one that it replaces.
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
            file = Path(new.name)
        if form == "csv":
            _guarded(rows).write_csv(file)
        elif form == "json":
            rows.write_json(file)
        else:
            rows.write_parquet(file)
        file.replace(path)
    except OSError as error:
        raise QuarantineError(f"{path} cannot be written: {error}") from error
