"""Draw pseudo-random values from a key, so that the sample shop is the same every time.

Polars' own `hash` and `sample` may change between versions. So a draw mixes an integer key with the draw's purpose by
splitmix64 (Steele, Lea & Flood 2014), whose arithmetic is modulo 2**64 on any machine.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

import polars as pl

_UNIT_BITS = 53  # the most that a float64 holds exactly


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)


def draw(key: pl.Expr, purpose: str) -> pl.Expr:
    """Draw a number per row, uniform in [0, 1).

    Args:
        key: non-negative integers; equal keys draw equal numbers.
        purpose: name of the draw; draws for two purposes are independent.

    Returns:
        A float64 expression.
    """
    salt = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "big")
    mixed = key.cast(pl.UInt64) * _u64(0x9E3779B97F4A7C15) + _u64(salt)
    mixed = (mixed ^ (mixed // _u64(2**30))) * _u64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed // _u64(2**27))) * _u64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed // _u64(2**31))
    return (mixed // _u64(2 ** (64 - _UNIT_BITS))).cast(pl.Float64) / float(2**_UNIT_BITS)


def draw_duration(key: pl.Expr, purpose: str, low: timedelta, high: timedelta) -> pl.Expr:
    """Draw a whole number of seconds per row, uniform in [low, high), as a duration in microseconds."""
    span = (high - low).total_seconds()
    seconds = (draw(key, purpose) * span).floor().cast(pl.Int64) + int(low.total_seconds())
    return pl.duration(seconds=seconds, time_unit="us")


def draw_choice(key: pl.Expr, purpose: str, weights: Mapping[str, int]) -> pl.Expr:
    """Draw one of the names in `weights` per row, each as often as its share of their sum."""
    point = (draw(key, purpose) * sum(weights.values())).floor().cast(pl.Int64)
    chosen = pl.lit(None, dtype=pl.String)
    upper = sum(weights.values())
    for name, weight in reversed(list(weights.items())):
        chosen = pl.when(point < upper).then(pl.lit(name)).otherwise(chosen)
        upper -= weight
    return chosen
