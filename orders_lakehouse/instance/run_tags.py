"""Tags by which the list of runs in the UI says what a run is about: its dates, and what triggered it."""

import dagster as dg

DATES, TRIGGER = "dates", "trigger"
# Triggers by a tag of Dagster, for runs that do not name their trigger themselves.
_BY_TAG = {
    "dagster/backfill": "backfill in the UI",
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
}


def dates_of(run: dg.DagsterRun) -> tuple[str, str] | None:
    """Return the first and last date of a run (ISO 8601); None for a run without dates."""
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    day = run.tags.get("dagster/partition")
    return (first, last) if first and last else (day, day) if day else None


def subject_tags(run: dg.DagsterRun) -> dict[str, str]:
    """Return the tags with the dates of a run and its trigger."""
    trigger = run.tags.get(TRIGGER) or next((words for tag, words in _BY_TAG.items() if tag in run.tags), "UI")
    dates = dates_of(run)
    return {TRIGGER: trigger, **({DATES: in_words(*dates)} if dates else {})}


def in_words(first: str, last: str) -> str:
    """Return a range of dates as text."""
    return first if first == last else f"{first} to {last}"
