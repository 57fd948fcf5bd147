from datetime import timedelta
from hashlib import blake2b

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.sample_shop.draws import draw, draw_choice, draw_duration

KEYS = pl.select(pl.int_range(0, 50_000).alias("key"))
KEY = pl.col("key")


def splitmix64(key: int, salt: int) -> int:
    z = (key * 0x9E3779B97F4A7C15 + salt) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@given(st.integers(0, 2**63 - 1), st.text())
def test_draw_is_splitmix64_salted_with_its_purpose(key: int, purpose: str) -> None:
    salt = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "big")
    drawn = pl.select(draw(pl.lit(key), purpose)).item()
    assert drawn == (splitmix64(key, salt) >> 11) / 2**53
    assert 0 <= drawn < 1


def test_draws_are_spread_evenly() -> None:
    tenths = KEYS.select((draw(KEY, "a purpose") * 10).floor().alias("tenth"))["tenth"].value_counts()
    assert tenths.height == 10
    assert tenths["count"].is_between(4_800, 5_200).all()


def test_draws_for_two_purposes_are_independent() -> None:
    correlation = KEYS.select(pl.corr(draw(KEY, "a purpose"), draw(KEY, "another"))).item()
    assert abs(correlation) < 0.02


def test_durations_are_whole_seconds_within_the_bounds() -> None:
    low, high = timedelta(minutes=1), timedelta(minutes=2)
    seconds = KEYS.select(draw_duration(KEY, "a purpose", low, high).alias("d"))["d"].dt.total_microseconds() / 1e6
    assert set(seconds) == set(range(60, 120))


def test_choices_follow_their_weights() -> None:
    choices = KEYS.select(draw_choice(KEY, "a purpose", {"often": 90, "seldom": 9, "rarely": 1}).alias("name"))
    counts = dict(choices["name"].value_counts().iter_rows())
    assert 44_500 < counts["often"] < 45_500
    assert 4_250 < counts["seldom"] < 4_750
    assert 400 < counts["rarely"] < 600
    assert sum(counts.values()) == 50_000
