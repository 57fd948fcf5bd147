"""Contracts: their base, shared columns and rules, waivers, comparison. No Dagster, no input or output."""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Pandera is imported here first, in its light form, before any module of the package imports it.
import_pandera()
