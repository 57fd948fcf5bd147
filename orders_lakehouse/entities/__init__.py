"""Entities: one file for each table of a source, with its contracts, its key, its dating and its cleansing.

A new entity is a file here and a line of `registry.py`. Nothing here reads or writes.
"""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Pandera is imported here first, in its light form, before any module of the package imports it.
import_pandera()
