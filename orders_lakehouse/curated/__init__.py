"""Curated tables: one file for each, with its contract and its transform.

A new table is a file here and a line of `registry.py`. Nothing here reads or writes.
"""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Pandera is imported here first, in its light form, before any module of the package imports it.
import_pandera()
