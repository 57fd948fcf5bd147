"""Pandera models, one file per layer, and the tables they describe. No Dagster, no input or output."""
