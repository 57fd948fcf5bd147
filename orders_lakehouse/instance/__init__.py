"""Dagster's home under LAKEHOUSE_HOME, and a run from outside with its outcome."""
