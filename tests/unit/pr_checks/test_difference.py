"""What differs between two states of a table."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pr_checks.difference import compare, moved

BEFORE = pl.DataFrame({"id": ["a", "b", "c"], "amount": [1, 2, 3], "note": ["x", None, "z"], "run_id": "then"})


def rows(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"id": ["a", "b", "c"], "amount": [1, 2, 3], "note": ["x", None, "z"], **columns})


def test_same_rows_are_the_same_whoever_wrote_them() -> None:
    found = compare("t", BEFORE, rows(run_id=["now"] * 3).reverse(), ["id"])
    assert found.same
    assert (found.before, found.after, found.changed, found.totals) == (3, 3, 0, {})


def test_rows_are_told_apart_by_key_and_cells_by_column() -> None:
    found = compare("t", BEFORE, rows(id=["a", "b", "d"], amount=[1, 5, 3], note=[None, "y", "z"]), ["id"])
    assert found.added["id"].to_list() == ["d"]
    assert found.removed["id"].to_list() == ["c"]
    assert found.cells.rows() == [("a", "note", "x", None), ("b", "amount", "2", "5"), ("b", "note", None, "y")]
    assert found.changed == 2
    assert found.totals == {"amount": ("6", "9")}


def test_rows_without_unique_key_are_compared_whole() -> None:
    twice = rows(id=["a", "a", "b"])
    found = compare("t", twice, rows(id=["a", "a", "b"], amount=[1, 4, 3]), ["id"])
    assert found.key == ("id", "amount", "note")
    assert (found.added["amount"].to_list(), found.removed["amount"].to_list(), found.changed) == ([4], [2], 0)


def test_row_too_many_is_one_row() -> None:
    alone = pl.DataFrame({"id": ["a"]})
    found = compare("t", alone, pl.concat([alone, alone, alone]), ["id"])
    assert (found.added.height, found.removed.height) == (2, 0)


def test_columns_that_come_go_or_change_their_type_are_named() -> None:
    after = rows(amount=[1.0, 2.0, 3.5], new=[1, 1, 1]).drop("note")
    found = compare("t", BEFORE, after, ["id"])
    assert found.columns == {"amount": ("Int64", "Float64"), "note": ("String", None), "new": (None, "Int64")}
    assert found.cells.filter(key="c").rows() == [("c", "amount", "3", "3.5")]


def test_table_that_a_side_lacks_is_all_new_or_all_gone() -> None:
    nothing = pl.DataFrame()
    found = compare("t", nothing, BEFORE, ["id"])
    assert (found.key, found.before, found.after, found.added.height) == (("id",), 0, 3, 3)
    assert (found.removed.height, found.changed, found.same) == (0, 0, False)
    found = compare("t", BEFORE, nothing, ["id"])
    assert (found.key, found.before, found.after, found.removed.height) == (("id",), 3, 0, 3)
    # Of no known key, it is told apart by all that it has.
    assert compare("t", nothing, BEFORE, []).key == ("id", "amount", "note")
    others = compare("t", BEFORE, pl.DataFrame({"other": [1]}), ["id"])
    assert (others.added.height, others.removed.height) == (1, 3)


def test_rows_of_a_quarantine_that_a_side_lacks_change_sides() -> None:
    rejected = pl.DataFrame({"id": ["a"], "updated_at": ["1st"], "reasons": ["late"]})
    for key in (["id", "updated_at"], []):
        new = compare("quarantine/refunds", pl.DataFrame(), rejected, key)
        assert moved([new]).select("table", "reason", "side").rows() == [("refunds", "late", "rejected now")]
        gone = compare("quarantine/refunds", rejected, pl.DataFrame(), key)
        assert moved([gone])["side"].to_list() == ["passes now"]


def test_sum_of_small_integers_is_the_whole_sum() -> None:
    many = pl.DataFrame({"id": ["a", "b"], "quantity": [2**31 - 1, 5]}, {"id": pl.String, "quantity": pl.Int32})
    found = compare("t", many.with_columns(quantity=pl.lit(1, pl.Int32)), many, ["id"])
    assert found.totals == {"quantity": ("2", "2147483652")}


FRAMES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 3))),
    max_size=6,
    unique_by=lambda row: row[0],
).map(lambda found: pl.DataFrame(found, {"id": pl.String, "amount": pl.Int64}, orient="row"))


@given(FRAMES, FRAMES)
def test_numbers_add_up(before: pl.DataFrame, after: pl.DataFrame) -> None:
    found = compare("t", before, after, ["id"])
    assert found.before + found.added.height - found.removed.height == found.after
    assert found.same == before.sort("id").equals(after.sort("id"))
