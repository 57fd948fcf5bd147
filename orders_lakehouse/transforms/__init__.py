"""Pure functions on Narwhals frames: rows in, rows out. No Dagster, no input or output, no clock."""
