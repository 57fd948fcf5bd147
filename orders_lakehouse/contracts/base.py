"""Base of contracts: Pandera models whose rules are also Narwhals expressions.

Each rule is written once, in a model. `rules_of` compiles it to a named expression, which splits rows into cleansed and
quarantined ones and describes the rule in the data dictionary. Pandera runs the same rule on stored data, in the asset
check.

A rule also has an outcome for rows that break it: the row is rejected, or columns of it become null and it gets a
warning, or it only gets a warning.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, overload

import narwhals as nw
import pandera.polars as pa
import polars as pl
from narwhals.exceptions import ColumnNotFoundError

_EXPRESSION, _OUTCOME, _BLANKS = "rule_expression", "rule_outcome", "rule_blanks"

# Outcome for a row that breaks a rule. reject: it goes to quarantine. blank: the columns named by the rule become null,
# and `warnings` gets the rule. warn: `warnings` gets the rule, and the row stays unchanged.
Outcome = Literal["reject", "blank", "warn"]


@dataclass(frozen=True)
class Rule:
    """A demand on rows.

    Attributes:
        reason: Name of the rule; rows in quarantine or with a warning record it.
        valid: Boolean expression; a null counts as valid, because presence is a rule of its own.
        description: The demand, in words.
        column: The column that it judges; None if it judges several.
        outcome: Consequence for a row that breaks it.
        blanks: Columns that become null where the outcome is `blank`.
    """

    reason: str
    valid: nw.Expr
    description: str
    column: str | None = None
    outcome: Outcome = "reject"
    blanks: tuple[str, ...] = ()


class Contract(pa.DataFrameModel):
    """Base of every table's model: columns are closed, types are exact, rules are named."""

    class Config:
        """Refuse columns that are not declared."""

        strict = True
        metadata: ClassVar[dict[str, str]] = {"version": "1"}


@overload
def rule(expression: Callable[[Any], nw.Expr]) -> Any: ...
@overload
def rule(*, outcome: Outcome = "reject", blanks: Sequence[str] = ()) -> Callable[[Callable[[Any], nw.Expr]], Any]: ...
def rule(
    expression: Callable[[Any], nw.Expr] | None = None, *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Turn a method that returns a Narwhals expression into a rule over several columns.

    The method's name is the reason, its docstring the description. A rule that only warns is no Pandera check, because
    stored rows may break it.

    Args:
        expression: The method.
        outcome: Consequence for a row that breaks the rule.
        blanks: Columns that become null where the outcome is `blank`.
    """
    if expression is None:
        return partial(_rule, outcome=outcome, blanks=blanks)
    return _rule(expression, outcome=outcome, blanks=blanks)


def _rule(expression: Callable[[Any], nw.Expr], *, outcome: Outcome, blanks: Sequence[str]) -> Any:

    def check(cls: Any, data: pa.PolarsData) -> Any:
        return nw.from_native(data.lazyframe).select(expression(cls).alias("valid")).to_native()

    # Pandera names the check after its function; a name given as an argument would be lost in the second subclass.
    check.__name__, check.__doc__ = expression.__name__, expression.__doc__
    method = check if outcome == "warn" else pa.dataframe_check(check)
    # Pandera finds the method by its own marker, `rules_of` finds the expression by this one.
    for marker, value in ((_EXPRESSION, expression), (_OUTCOME, outcome), (_BLANKS, tuple(blanks))):
        setattr(method, marker, value)
    return method


def named_rule(
    reason: str, description: str, valid: nw.Expr, *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Turn an expression into a rule, for rules that several columns or tables share; assign it to its reason.

    Args:
        reason: Name of the rule.
        description: The demand.
        valid: Boolean expression; a null counts as valid.
        outcome: Consequence for a row that breaks the rule.
        blanks: Columns that become null where the outcome is `blank`.
    """

    def expression(_: Any) -> nw.Expr:
        return valid

    expression.__name__, expression.__doc__ = reason, description
    return _rule(expression, outcome=outcome, blanks=blanks)


# Suffix of the reason, expression and demand for each of Pandera's built-in checks.
_BUILT_IN: Mapping[str, tuple[str, Callable[[nw.Expr, Mapping[str, Any]], nw.Expr], str]] = {
    "greater_than": ("not_above_{min_value}", lambda c, s: c > s["min_value"], "greater than {min_value}"),
    "greater_than_or_equal_to": ("below_{min_value}", lambda c, s: c >= s["min_value"], "at least {min_value}"),
    "less_than_or_equal_to": ("above_{max_value}", lambda c, s: c <= s["max_value"], "at most {max_value}"),
    "isin": ("not_in_list", lambda c, s: c.is_in(list(s["allowed_values"])), "one of {allowed_values}"),
    "str_matches": ("malformed", lambda c, s: c.str.contains(s["pattern"]), "of the form {pattern}"),
}


def _column_rule(column: str, check: pa.Check, metadata: Mapping[str, Any]) -> Rule:
    try:
        suffix, expression, demand = _BUILT_IN[str(check.name)]
    except KeyError:
        raise NotImplementedError(
            f"the check {check.name!r} on column {column!r} has no expression; "
            f"use one of {', '.join(sorted(_BUILT_IN))}, or a @rule"
        ) from None
    statistics = check.statistics or {}
    shown = {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for name, value in statistics.items()
    }
    reason = metadata.get("reason") or f"{column}_{suffix.format(**statistics)}"
    return Rule(
        reason,
        expression(nw.col(column), statistics),
        f"{column} is {metadata.get('demand') or demand.format(**shown)}",
        column,
        metadata.get("outcome", "reject"),
        tuple(metadata.get("blanks", (column,))) if metadata.get("outcome") == "blank" else (),
    )


def rules_of(model: type[Contract]) -> list[Rule]:
    """Return every rule of a contract as a named Narwhals expression, in the order of the model.

    Args:
        model: The contract.

    Returns:
        For each column: `<column>_missing` if it may not be null, then its checks; after all columns, the rules over
        several columns.
    """
    rules: list[Rule] = []
    for name, column in model.to_schema().columns.items():
        metadata = column.metadata or {}
        if not column.nullable:
            rules.append(Rule(f"{name}_missing", ~nw.col(name).is_null(), f"{name} is present", name))
        rules.extend(_column_rule(name, check, metadata) for check in column.checks)
    seen: set[str] = set()
    for base in model.__mro__:
        for name, member in vars(base).items():
            expression = getattr(member, _EXPRESSION, None)
            if expression is not None and name not in seen:
                seen.add(name)
                description = " ".join((expression.__doc__ or "").split())
                outcome, blanks = getattr(member, _OUTCOME), getattr(member, _BLANKS)
                rules.append(Rule(name, expression(model), description, None, outcome, blanks))
    for check in model.to_schema().checks:
        if check.name not in seen:
            raise NotImplementedError(
                f"the check {check.name!r} of {model.__name__} has no expression; make it a @rule"
            )
    return rules


def failure_cases(model: type[Contract], rows: pl.DataFrame) -> pl.DataFrame | None:
    """Return Pandera's failure cases for rows, one for each broken rule; None if there are none."""
    try:
        model.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        return cases
    return None


def columns_of(rule: Rule, schema: Mapping[str, Any]) -> list[str]:
    """Return the columns that a rule reads: it cannot be evaluated without them.

    Args:
        rule: A rule of a table.
        schema: Column names and Polars types of the table.
    """
    empty = pl.LazyFrame(schema=schema)
    return [name for name in schema if not _evaluates(rule, empty.drop(name))]


def _evaluates(rule: Rule, rows: pl.LazyFrame) -> bool:
    try:
        nw.from_native(rows).select(rule.valid).collect_schema()
    except ColumnNotFoundError:
        return False
    return True


def contract_version(model: type[Contract]) -> str:
    """Return the version of a contract; a quarantine row records which version rejected it."""
    return str(model.Config.metadata["version"])


def personal_columns(model: type[Contract]) -> frozenset[str]:
    """Return the columns that identify a person: those that the contract marks as `pii`."""
    return frozenset(name for name, column in model.to_schema().columns.items() if (column.metadata or {}).get("pii"))


def polars_schema(model: type[Contract]) -> pl.Schema:
    """Return column names and Polars types of a contract: its own columns first, then those of its bases."""
    columns = model.to_schema().columns
    names = [name for base in model.__mro__ for name in vars(base).get("__annotations__", {}) if name in columns]
    return pl.Schema({name: columns[name].dtype.type for name in dict.fromkeys(names)})


def declared_at(model: type[Contract], column: str | None = None) -> str:
    """Return where a contract, or a column of it, is declared: file:line, with the file relative to the project.

    Raises:
        LookupError: The contract has no such column.
    """
    for base in model.__mro__ if column else (model,):
        if column is None or column in vars(base).get("__annotations__", {}):
            lines, first = inspect.getsourcelines(base)
            declared = re.compile(rf"\s+{column}\s*:" if column else r"class\s")
            offset = next(number for number, line in enumerate(lines) if declared.match(line))
            return f"{base.__module__.replace('.', '/')}.py:{first + offset}"
    raise LookupError(f"{model.__name__} has no column {column}")
