"""Entities: one file for each table of a source, with its contracts, its key, what dates it, and how it is cleansed.

A new one is a file here and a line of `registry.py`. Nothing here reads or writes.
"""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Before any module here imports Pandera by itself.
import_pandera()
