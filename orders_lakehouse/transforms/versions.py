"""Order the versions of a row, and choose those that count."""

from collections.abc import Sequence

import narwhals as nw

from orders_lakehouse.contracts.raw import AHEAD_HOURS, LINEAGE
from orders_lakehouse.contracts.types import Frame

# Versions are ordered by the change clock; at an equal clock the last captured wins.
_CLOCK = ("updated_at", "captured_at", "captured_on")
# Among versions captured at once, the last of the sequence wins.
_ORDER = (*_CLOCK, "sequence")
_BEFORE, _PLACE = "__before", "place__"
_OFFERED, _ALIKE, _COMPARED = "offered__", "alike__", "__compared"


def current_versions(versions: Frame, key: Sequence[str]) -> Frame:
    """Return the current version of each row, and the number of its versions.

    Args:
        versions: Raw rows, all versions of each key that occurs.
        key: Columns that identify a row.

    Returns:
        One row for each key with the columns of `versions`, `versions` (int): the number of rows of that key, and
        `candidates` (int) of `with_candidates`.
    """
    columns = versions.collect_schema().names()
    counted = versions.with_columns(versions=nw.len().over(*key).cast(nw.Int64))
    content = [name for name in columns if name not in (*_ORDER, *key)]
    # Most rows have one version; only the others are worth sorting. The content breaks ties, so that the result does
    # not depend on the order of the rows.
    several = (
        with_candidates(counted.filter(nw.col("versions") > 1), key)
        .with_columns(effective_at=effective_at())
        .unique(subset=list(key), keep="last", order_by=["effective_at", *_ORDER, *content])
        .drop("effective_at")
    )
    single = counted.filter(nw.col("versions") == 1).with_columns(candidates=nw.lit(1).cast(nw.Int64))
    return nw.concat([single, several])


def with_candidates(versions: Frame, key: Sequence[str]) -> Frame:
    """Add the number of different rows that the source offered for a key at once; one of several may be wrong.

    Args:
        versions: Raw rows.
        key: Columns that identify a row.

    Returns:
        The rows with `candidates` (int): 1, unless others of the same key, clock, capture and sequence differ.
    """
    at_once = [*key, "updated_at", "captured_at", "sequence"]
    content = [name for name in versions.collect_schema().names() if name not in (*LINEAGE, *at_once, "versions")]
    compared = [f"{name}{_COMPARED}" for name in content]
    offered, alike = nw.len().over(*at_once), nw.len().over(*at_once, *compared)
    # Grouping copies the columns it groups by. Most rows have no other to compare with, so their content is left null.
    several, is_one = nw.when(nw.col(_OFFERED) > 1), nw.when(nw.col(_OFFERED) == nw.col(_ALIKE))
    return (
        versions.with_columns(offered.alias(_OFFERED))
        .with_columns(several.then(nw.col(name)).alias(copy) for name, copy in zip(content, compared, strict=True))
        .with_columns(alike.alias(_ALIKE))
        .with_columns(candidates=is_one.then(nw.lit(1)).otherwise(nw.col(_OFFERED)).cast(nw.Int64))
        .select(*versions.collect_schema().names(), "candidates")
    )


def effective_at() -> nw.Expr:
    """Return the instant by which versions follow one another.

    It is the change clock, unless that ran ahead of its capture: then it is the capture, so that later corrections win.
    """
    clock, captured = nw.col("updated_at"), nw.col("captured_at")
    return nw.when(clock > captured.dt.offset_by(f"{AHEAD_HOURS}h")).then(captured).otherwise(clock)


def last_versions(versions: Frame, key: str) -> Frame:
    """Return the last version of each row by the change clock; at an equal clock the last captured one.

    Args:
        versions: Versions with `updated_at`, `captured_at`, `captured_on`.
        key: Column that identifies a row.

    Returns:
        One row for each key, with the columns of `versions`.
    """
    order, content = _order_and_content(versions, key)
    number = nw.len().over(key)
    several = versions.filter(number > 1).unique(subset=[key], keep="last", order_by=[*order, *content])
    return nw.concat([versions.filter(number == 1), several])


def valid_intervals(versions: Frame, key: str, attributes: Sequence[str]) -> Frame:
    """Return when each member of a dimension is valid. A member is a version whose attributes differ from the previous.

    Consecutive versions with equal attributes are one member, valid from the first of them on. A deleted row may lack
    its key (null or blank) or its clock; such a version belongs to no member.

    Args:
        versions: Valid versions with `updated_at`, `captured_at`, `captured_on`.
        key: Column that identifies a row.
        attributes: Columns that distinguish members; null equals null.

    Returns:
        The first version of each member, with `valid_from` (null: from the beginning of time) and `valid_to` (null:
        without end), half open.
    """
    order, content = _order_and_content(versions, key)
    clock, number = nw.col("updated_at"), nw.len().over(key)
    always = nw.when(nw.lit(value=False)).then(clock)
    known = versions.filter(nw.col(key).str.strip_chars() != "", ~clock.is_null())
    # Most rows have one version; only the others are worth sorting.
    single = known.filter(number == 1).with_columns(valid_from=always, valid_to=always)
    winners = known.filter(number > 1).unique(subset=[key, "updated_at"], keep="last", order_by=[*order[1:], *content])
    # One window and a join: a window for each attribute would sort the versions once for each.
    place = nw.col(_PLACE)
    placed = winners.with_columns(clock.cum_count().over(key, order_by="updated_at").cast(nw.Int64).alias(_PLACE))
    before = placed.select(key, place + 1, *(nw.col(name).alias(f"{name}{_BEFORE}") for name in attributes))
    is_other = nw.any_horizontal(*map(_differs, attributes), ignore_nulls=True)
    members = placed.join(before, on=[key, _PLACE], how="left").filter((place == 1) | is_other)
    several = members.with_columns(
        valid_from=nw.when(place > 1).then(clock), valid_to=clock.shift(-1).over(key, order_by="updated_at")
    )
    return nw.concat([single, several.select(single.collect_schema().names())])


def _order_and_content(versions: Frame, key: str) -> tuple[list[str], list[str]]:
    """Return the columns that order versions, and those that break ties; cleansed rows have no sequence."""
    columns = versions.collect_schema().names()
    order = [name for name in _ORDER if name in columns]
    return order, [name for name in columns if name not in (key, *order)]


def _differs(name: str) -> nw.Expr:
    """Return whether a column differs from the version before; null equals null."""
    now, then = nw.col(name), nw.col(f"{name}{_BEFORE}")
    return (now.is_null() != then.is_null()) | (now != then).fill_null(value=False)
