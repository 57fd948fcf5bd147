"""What a contract is: a Pandera model whose rules are also Narwhals expressions.

A rule stands once, in a model. `rules_of` compiles it to named expressions (the split into cleansed and quarantined
rows, the data dictionary), and Pandera runs the very same rule on stored data (the asset check).

A rule also says what becomes of a row that breaks it: it is rejected, or a column of it becomes null and the row warns,
or it warns alone.
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

# What becomes of a row that breaks a rule: it goes to quarantine; the columns that the rule names become null, and
# `warnings` says so; or `warnings` says so, and the row stays as it is.
Outcome = Literal["reject", "blank", "warn"]


@dataclass(frozen=True)
class Rule:
    """What a row must hold.

    Attributes:
        reason: Name of the rule; what a row in quarantine, or with a warning, says.
        valid: Boolean expression; a null counts as valid, because presence is a rule of its own.
        description: What the rule demands, for people.
        column: The column that it judges; None when it judges several.
        outcome: What becomes of a row that breaks it.
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
        """No column beside the declared ones."""

        strict = True
        metadata: ClassVar[dict[str, str]] = {"version": "1"}


@overload
def rule(expression: Callable[[Any], nw.Expr]) -> Any: ...
@overload
def rule(*, outcome: Outcome = "reject", blanks: Sequence[str] = ()) -> Callable[[Callable[[Any], nw.Expr]], Any]: ...
def rule(
    expression: Callable[[Any], nw.Expr] | None = None, *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Make a rule over several columns of a method that returns a Narwhals expression.

    The method's name is the reason, its docstring the description. A rule that only warns is no check of Pandera's: a
    stored row may break it.

    Args:
        expression: The method.
        outcome: What becomes of a row that breaks the rule.
        blanks: Columns that become null where the outcome is `blank`.
    """
    if expression is None:
        return partial(_rule, outcome=outcome, blanks=blanks)
    return _rule(expression, outcome=outcome, blanks=blanks)


def _rule(expression: Callable[[Any], nw.Expr], *, outcome: Outcome, blanks: Sequence[str]) -> Any:

    def check(cls: Any, data: pa.PolarsData) -> Any:
        return nw.from_native(data.lazyframe).select(expression(cls).alias("valid")).to_native()

    # Pandera names the check after its function; a name given by argument would be lost on the second subclass.
    check.__name__, check.__doc__ = expression.__name__, expression.__doc__
    method = check if outcome == "warn" else pa.dataframe_check(check)
    # Pandera finds the method by its own marker, `rules_of` finds the expression by this one.
    for marker, value in ((_EXPRESSION, expression), (_OUTCOME, outcome), (_BLANKS, tuple(blanks))):
        setattr(method, marker, value)
    return method


def named_rule(
    reason: str, description: str, valid: nw.Expr, *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Make a rule of an expression, for rules that several columns or tables have alike; assign it to its reason.

    Args:
        reason: Name of the rule.
        description: What it demands.
        valid: Boolean expression; a null counts as valid.
        outcome: What becomes of a row that breaks the rule.
        blanks: Columns that become null where the outcome is `blank`.
    """

    def expression(_: Any) -> nw.Expr:
        return valid

    expression.__name__, expression.__doc__ = reason, description
    return _rule(expression, outcome=outcome, blanks=blanks)


# How each of Pandera's built-in checks reads as an expression, and how its reason is called.
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
    shown = {name: ", ".join(map(str, of)) if isinstance(of, list | tuple) else of for name, of in statistics.items()}
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
    """Every rule of a contract as a named Narwhals expression, in the order of the model.

    Args:
        model: The contract.

    Returns:
        For each column: `<column>_missing` where it may not be null, then its checks; then the rules over several
        columns.
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
    """What Pandera finds wrong with rows: a case for each rule that one breaks, as Pandera says it; None if nothing."""
    try:
        model.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        return cases
    return None


def columns_of(rule: Rule, schema: Mapping[str, Any]) -> list[str]:
    """Columns that a rule looks at: those without which it cannot be evaluated.

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
    """Version of a contract; a quarantine row says which version rejected it."""
    return str(model.Config.metadata["version"])


def personal_columns(model: type[Contract]) -> frozenset[str]:
    """Columns that say who somebody is: those that the contract marks as `pii`."""
    return frozenset(name for name, column in model.to_schema().columns.items() if (column.metadata or {}).get("pii"))


def polars_schema(model: type[Contract]) -> pl.Schema:
    """Column names and Polars types of a contract: its own columns first, then those of its bases."""
    columns = model.to_schema().columns
    names = [name for base in model.__mro__ for name in vars(base).get("__annotations__", {}) if name in columns]
    return pl.Schema({name: columns[name].dtype.type for name in dict.fromkeys(names)})


def declared_at(model: type[Contract], column: str | None = None) -> str:
    """Where a contract stands, or declares a column: file:line, the file as seen from the project's root.

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
