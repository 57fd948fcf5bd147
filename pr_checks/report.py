"""Write the effects of a change as Markdown for its pull request. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from orders_lakehouse.contracts.checks import KEY_STANDS_ONCE
from pr_checks.difference import Difference, moved

# Checks that only a capture evaluates.
_OF_A_CAPTURE = ("raw_matches_source", "schema_drift", KEY_STANDS_ONCE)
_SAMPLE = 10
_KEYS = 5


@dataclass(frozen=True)
class Findings:
    """Content of a report.

    Attributes:
        base: Commit where the change began.
        change: Name of the change.
        dates: First and last date.
        reached: Files that reach each layer.
        made: Layers that were built again.
        untracked: Files that were left out.
        declared_before: Asset and name of each check of the base.
        declared: Asset and name of each check of the change.
        checks_before: Results of the checks of the base: asset, check, passed, severity.
        checks: Results of the checks of the change.
        judged: Results of these by date: asset, check_name, date, passed, severity, expected, found, detail.
        errors: Errors by step of the change, for steps that failed for another reason than a check.
        tables: Every table of either side; None if the change could not be built.
        contracts: Differences of the contracts, in words; None if those of a side cannot be read.
        breaks: Differences that break a consumer or lack a new version, in words.
        restated: Net sales by currency: currency, dates, changed (dates), before, after.
        models: dbt models that differ; None if that is not known.
        following: dbt models that depend on these.
        seconds: Duration by part.
    """

    base: str
    change: str
    dates: tuple[Any, Any]
    reached: Mapping[str, Sequence[str]]
    made: Sequence[str]
    untracked: Sequence[str]
    declared_before: Sequence[tuple[str, str]]
    declared: Sequence[tuple[str, str]]
    checks_before: Sequence[Mapping[str, Any]]
    checks: Sequence[Mapping[str, Any]]
    judged: pl.DataFrame
    errors: Mapping[str, str]
    tables: Sequence[Difference] | None
    contracts: Sequence[str] | None
    breaks: Sequence[str]
    restated: pl.DataFrame
    models: Sequence[str] | None
    following: Sequence[str]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def failing(self) -> list[Mapping[str, Any]]:
        """Checks that fail with severity ERROR."""
        return [check for check in self.checks if not check["passed"] and check["severity"] == "ERROR"]

    @property
    def not_made(self) -> list[Difference]:
        """Tables without rows, if a failure may have prevented them."""
        return [table for table in self.tables or () if self._may_not_be_made(table)]

    @property
    def compared(self) -> list[Difference]:
        """Tables with a known state on both sides."""
        return [table for table in self.tables or () if not self._may_not_be_made(table)]

    def _may_not_be_made(self, table: Difference) -> bool:
        return bool((self.failing or self.errors) and table.before and not table.after)

    @property
    def holds(self) -> bool:
        """Whether every check holds, nothing failed, and no contract breaks its consumers. Data may differ."""
        return not (self.failing or self.errors or self.breaks)


def markdown(findings: Findings) -> str:
    """Return the report."""
    sections = [
        _head(findings),
        _failures(findings),
        _checks(findings),
        _tables(findings),
        _quarantine(moved(findings.compared)),
        _contracts(findings.contracts),
        _models(findings),
        _time(findings),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _head(findings: Findings) -> list[str]:
    differing = [table for table in findings.compared if not table.same]
    failing = len(findings.failing)
    if findings.holds:
        verdict = f"✅ {_count(len(findings.checks), 'check')}: none fails."
    else:
        parts = {
            f"{failing} of {_count(len(findings.checks), 'check')} failed": failing,
            f"{_count(len(findings.errors), 'step')} failed": len(findings.errors),
            f"{_count(len(findings.breaks), 'break')} of contracts": len(findings.breaks),
        }
        verdict = "❌ " + ", ".join(text for text, count in parts.items() if count) + "."
    rows = sum(table.added.height + table.removed.height + table.changed for table in differing)
    if findings.tables is None:
        data = "Nothing was compared."
    elif differing:
        verb = "differs" if len(differing) == 1 else "differ"
        data = f"{len(differing)} of {_count(len(findings.compared), 'table')} {verb}, in {_count(rows, 'row')}."
    else:
        data = "No table differs."
    if findings.reached:
        files = [f"- **{layer}** by {_some([f'`{file}`' for file in of])}" for layer, of in findings.reached.items()]
        made = f"Built again: {', '.join(findings.made)}."
        if findings.tables is None:
            made = "Nothing was built that could be compared."
        reached = ["The change reaches:", "", *files, "", made]
    else:
        reached = ["The changed files reach no layer: nothing was built again."]
    left_out = [f"Unknown to git, and left out: {_some(findings.untracked)}."] if findings.untracked else []
    return [
        "# Effects of this change on the data",
        "",
        *([f"**{_restated(findings.restated)}**", ""] if findings.tables is not None else []),
        f"**{verdict} {data}**",
        "",
        f"`{findings.change}` against `{findings.base[:10]}`, on the sample shop from {findings.dates[0]} to "
        f"{findings.dates[1]}.",
        "",
        *reached,
        *left_out,
    ]


def _restated(restated: pl.DataFrame) -> str:
    """Return on how many dates net sales change, and by how much in each currency."""
    changed = restated.filter(pl.col("changed") > 0)
    if changed.is_empty():
        return "Net sales are the same on every date."
    return "; ".join(
        f"Net sales are restated on {dates_changed} of {_count(dates, 'date')}, {_by(before, after)} in {currency}"
        for currency, dates, dates_changed, before, after in changed.iter_rows()
    )


def _by(before: Any, after: Any) -> str:
    """Return by how much a sum changes, relative to what it was."""
    if not before:
        return f"from nothing to {after:,.2f}"
    share = 100 * (after - before) / abs(before)
    return f"{share:+.2f} % ({after - before:+,.2f})"


def _failures(findings: Findings) -> list[str]:
    if not findings.errors and not findings.breaks:
        return []
    steps = [f"- step `{step}`: {_plain(message)}" for step, message in findings.errors.items()]
    return ["## Failures", "", *(f"- {text}" for text in findings.breaks), *steps]


def _checks(findings: Findings) -> list[str]:
    named = {(check["asset"], check["check"]): check for check in findings.checks}
    before = {(check["asset"], check["check"]): check for check in findings.checks_before}
    passed = sum(bool(check["passed"]) for check in findings.checks)
    warned = len(findings.checks) - passed - len(findings.failing)
    lines = ["## Checks", "", f"{passed} hold, {warned} warn, {len(findings.failing)} fail."]
    failing = [check for check in findings.checks if not check["passed"]]
    known = [check for check in failing if _failed_as_badly(check, before)]
    new = [check for check in failing if check not in known]
    if new:
        rows = [_failing(check, before, findings.judged) for check in new]
        lines += ["", *_table(("check", "", "dates", "expected", "found", "in the base"), rows)]
    if known:
        names = _named((check["asset"], check["check"]) for check in known)
        lines += ["", f"In the base, too: {_some(names)}."]
    if findings.tables is None:
        return lines
    gone = set(findings.declared_before) - set(findings.declared)
    # A capture that did not run cannot be checked.
    without = {
        (asset, name)
        for asset, name in set(findings.declared) - set(named)
        if name not in _OF_A_CAPTURE or "raw" in findings.made
    }
    for label, checks in (("Gone", gone), ("Without a result", without)):
        if checks:
            lines += ["", f"{label}: {_some(_named(sorted(checks)))}."]
    return lines


def _failed_as_badly(check: Mapping[str, Any], before: Mapping[tuple[str, str], Mapping[str, Any]]) -> bool:
    """Return whether a failing check failed in the base, too, with the same severity."""
    earlier = before.get((check["asset"], check["check"]))
    return earlier is not None and not earlier["passed"] and earlier["severity"] == check["severity"]


def _failing(
    check: Mapping[str, Any], before: Mapping[tuple[str, str], Mapping[str, Any]], judged: pl.DataFrame
) -> Sequence[str]:
    subject = (check["asset"], check["check"])
    failures = judged.filter((pl.col("asset") == subject[0]) & (pl.col("check_name") == subject[1]) & ~pl.col("passed"))
    first = failures.head(1).to_dicts()[0] if failures.height else {}
    dates = failures["date"].drop_nulls().unique().sort().to_list()
    listed = _some([str(day) for day in dates])
    earlier = before.get(subject)
    return (
        f"`{subject[0]}` {subject[1]}",
        "❌" if check["severity"] == "ERROR" else "⚠️",
        listed,
        _plain(first.get("expected")),
        _plain("; ".join(text for text in (first.get("found"), first.get("detail")) if text)),
        "not run" if earlier is None else "held" if earlier["passed"] else "warned",
    )


def _tables(findings: Findings) -> list[str]:
    if findings.tables is None:
        return []
    differing = [table for table in findings.compared if not table.same]
    lines = ["## Tables", ""]
    if findings.not_made:
        named = ", ".join(f"`{table.table}`" for table in findings.not_made)
        lines += [f"Tables without rows, because they were not built or because the change empties them: {named}.", ""]
    if not differing:
        rows = sum(table.after for table in findings.compared)
        return [*lines, f"{_count(len(findings.compared), 'table')} compared, {_count(rows, 'row')}: no difference."]
    summary = [
        (
            f"`{table.table}`",
            f"{table.before:,}",
            f"{table.after:,}",
            f"{table.added.height:,}",
            f"{table.removed.height:,}",
            f"{table.changed:,}",
        )
        for table in differing
    ]
    lines += _table(("table", "rows before", "after", "added", "removed", "changed"), summary)
    same = len(findings.compared) - len(differing)
    lines += ["", f"{_count(same, 'other table')} compared: no difference."]
    for table in differing:
        lines += ["", *_details(table)]
    return lines


def _details(table: Difference) -> list[str]:
    lines = ["<details>", f"<summary><code>{table.table}</code>, by {', '.join(table.key)}</summary>", ""]
    for name, (was, now) in table.columns.items():
        lines += [
            f"- column `{name}`: "
            + (f"gone, was {was}" if now is None else f"new, {now}" if was is None else f"{was} → {now}")
        ]
    if table.columns:
        lines += [""]
    if table.totals:
        totals = [(f"`{name}`", was, now) for name, (was, now) in table.totals.items()]
        lines += [*_table(("total", "before", "after"), totals), ""]
    if table.cells.height:
        counted = table.cells.group_by("column").len().sort("len", "column", descending=[True, False])
        by_column = ", ".join(f"`{name}` in {_count(count, 'row')}" for name, count in counted.iter_rows())
        lines += [f"Changed: {by_column}.", ""]
        shown = _largest_first(table.cells).head(_SAMPLE).rows()
        lines += [*_table(("key", "column", "before", "after"), [tuple(map(_plain, row)) for row in shown]), ""]
    for label, rows in (("Added", table.added), ("Removed", table.removed)):
        if rows.height:
            lines += [f"{label}, of {rows.height:,}:", "", *_rows(rows), ""]
    return [*lines, "</details>"]


def _largest_first(cells: pl.DataFrame) -> pl.DataFrame:
    """Return differing cells, the largest changes of numbers first, then the others by key."""
    was, now = (pl.col(side).cast(pl.Float64, strict=False) for side in ("before", "after"))
    return cells.sort((now - was).abs(), descending=True, nulls_last=True, maintain_order=True)


def _rows(rows: pl.DataFrame) -> list[str]:
    shown = rows.head(_KEYS).select(pl.all().cast(pl.String))
    return _table([f"`{name}`" for name in shown.columns], [tuple(map(_plain, row)) for row in shown.rows()])


def _quarantine(moved: pl.DataFrame) -> list[str]:
    if moved.is_empty():
        return []
    counted = (
        moved.group_by("side", "table", "reason")
        .agg(rows=pl.len(), keys=pl.col("key").sort().head(_KEYS).str.join(", "))
        .sort("side", "table", "reason")
    )
    rows = [
        (side, f"`{table}`", f"`{reason}`", f"{count:,}", _plain(keys))
        for side, table, reason, count, keys in counted.iter_rows()
    ]
    return ["## Quarantine", "", *_table(("", "table", "reason", "rows", "keys"), rows)]


def _models(findings: Findings) -> list[str]:
    if findings.models is None:
        return []
    if not findings.models:
        return ["## dbt models", "", "No model differs."]
    named = ", ".join(f"`{name}`" for name in findings.models)
    following = ", ".join(f"`{name}`" for name in findings.following) or "none"
    return ["## dbt models", "", f"Different: {named}. Dependent on these: {following}."]


def _time(findings: Findings) -> list[str]:
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in findings.seconds.items() if seconds >= 0.5)
    return ["## Time", "", f"{sum(findings.seconds.values()):.0f} s: {parts}."]


def _contracts(texts: Sequence[str] | None) -> list[str]:
    if texts is None:
        lines = ["The contracts of one side cannot be read, so they were not compared."]
    else:
        lines = [f"- {line}" for line in texts] or ["No contract differs."]
    return ["## Contracts", "", *lines]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = ["---"] * len(headings)
    return ["| " + " | ".join(row) + " |" for row in (headings, ruler, *rows)]


def _named(checks: Iterable[tuple[str, str]]) -> list[str]:
    return [f"`{asset}` {name}" for asset, name in checks]


def _some(named: Sequence[str]) -> str:
    """Return the first names, and the number of further ones."""
    more = f" and {len(named) - _KEYS} more" if len(named) > _KEYS else ""
    return ", ".join(named[:_KEYS]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(value: object) -> str:
    """Return text that does not end a table's cell or line."""
    return "" if value is None else " ".join(str(value).replace("|", "\\|").split())
