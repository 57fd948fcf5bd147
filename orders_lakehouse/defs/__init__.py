"""Dagster declarations: what exists and how it is wired, one file for each layer or concept."""

import warnings

import dagster as dg

# Backfill policies are beta and would warn at every use; the pinned versions make the warning useless.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
