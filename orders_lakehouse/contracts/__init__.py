"""Pandera models, one file per layer, and the tables they describe. No Dagster, no input or output."""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Before any module here imports Pandera by itself.
import_pandera()
