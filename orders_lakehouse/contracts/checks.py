"""Names of checks, and the checks that stop no run."""

SEVERITIES = ("ERROR", "WARN")
RAW_MATCHES_SOURCE = "raw_matches_source"
STANDS_ONCE, KEY_STANDS_ONCE, KEEPS_UP = "stands_once", "key_stands_once", "keeps_up"
SENSORS_GET_THROUGH, NO_WARNINGS = "sensors_get_through", "no_warnings"
# Check that a step of a dimension ran to its end.
GETS_THROUGH = "gets_through"
# Check of losses by rule. It stops no run, because a rule rejects rows of every date.
LOSSES_ARE_FEW = "losses_are_few"
# Check of volumes. It stops no run, because an unusual volume is a matter of judgement that a new run does not change.
VOLUME_AS_USUAL = "volume_as_usual"
# Names of the checks of a column: of the mix of its values, and of an amount that the source computes, too.
MIX_AS_USUAL, AS_IN_SHOP = "{}_mix_as_usual", "{}_as_in_shop"
# Checks that only report and stop no run; `tables.NOT_BLOCKING` adds those of columns.
TELLING = frozenset(
    {
        "agrees_with_shop",
        GETS_THROUGH,
        KEEPS_UP,
        KEY_STANDS_ONCE,
        LOSSES_ARE_FEW,
        NO_WARNINGS,
        "repair_changes_nothing",
        "schema_drift",
        SENSORS_GET_THROUGH,
        STANDS_ONCE,
        VOLUME_AS_USUAL,
        # Tests of dbt on facts, with `severity: warn`.
        "fct_orders_delivered_at_as_shipments_say",
        "fct_orders_no_more_shipped_than_ordered",
        "fct_orders_shipped_at_as_shipments_say",
        "fct_shipment_lines_shipment_is_known",
    }
)
