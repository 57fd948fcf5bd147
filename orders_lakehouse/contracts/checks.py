"""What the asset checks found: one row for each evaluation of a check on a date."""

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.types import Instant

SEVERITIES = ("ERROR", "WARN")
RAW_MATCHES_SOURCE = "raw_matches_source"
STANDS_ONCE, KEY_STANDS_ONCE, KEEPS_UP = "stands_once", "key_stands_once", "keeps_up"
SENSORS_GET_THROUGH, NO_WARNINGS = "sensors_get_through", "no_warnings"
# That a step of a dimension was not broken off.
GETS_THROUGH = "gets_through"
# Rows are lost by their rule rather than by their date: to stop a date would not help.
LOSSES_ARE_FEW = "losses_are_few"
# What is unusual is a matter of judgement, and a run of the date finds it as unusual as before.
VOLUME_AS_USUAL = "volume_as_usual"
# Checks that tell people and hold nothing back, whatever their severity; of the others see `blocking.stops`.
NOT_BLOCKING = frozenset(
    {
        "agrees_with_shop",
        "category_mix_as_usual",
        GETS_THROUGH,
        KEEPS_UP,
        KEY_STANDS_ONCE,
        LOSSES_ARE_FEW,
        "method_mix_as_usual",
        NO_WARNINGS,
        "repair_changes_nothing",
        "schema_drift",
        SENSORS_GET_THROUGH,
        STANDS_ONCE,
        "status_mix_as_usual",
        "total_price_as_in_shop",
        VOLUME_AS_USUAL,
    }
)


class CheckResults(Contract):
    """Every evaluation of every check, by date; the latest one of a check and date is in force."""

    asset: pl.String = pa.Field(description="Checked table, layer/name")
    check_name: pl.String = pa.Field(description="Name of the check")
    date: pl.Date = pa.Field(
        nullable=True, description="Partition that was judged; null where the table is judged as a whole"
    )
    passed: pl.Boolean = pa.Field(description="Whether the check held")
    severity: pl.String = pa.Field(isin=SEVERITIES, description="What a failure means: ERROR or WARN")
    expected: pl.String = pa.Field(nullable=True, description="What the check expected, for people")
    found: pl.String = pa.Field(nullable=True, description="What it found instead, for people")
    detail: pl.String = pa.Field(nullable=True, description="Which rows or rules, as a bounded sample")
    run_id: pl.String = pa.Field(description="Run that evaluated the check")
    evaluated_at: Instant = pa.Field(description="When it was evaluated")
