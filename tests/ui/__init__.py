"""Tests of the pages of Dagster's UI, in a real browser."""
