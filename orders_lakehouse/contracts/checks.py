"""Names of checks, and which of them hold nothing back."""

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
# Names of the checks of a column: of the mix of its values, and of an amount that the source works out, too.
MIX_AS_USUAL, AS_IN_SHOP = "{}_mix_as_usual", "{}_as_in_shop"
# Checks that tell people and hold nothing back; `tables.NOT_BLOCKING` has those of a column besides.
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
    }
)
