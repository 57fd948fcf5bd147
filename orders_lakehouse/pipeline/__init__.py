"""Capture, derive, account for and retry dates. Dagster declarations belong in `defs/`."""
