"""Dagster declarations: what exists and how it is wired, one file for each layer or concept."""

import warnings

import dagster as dg

# Backfill policies are marked as beta and warn at every use; the versions are pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
