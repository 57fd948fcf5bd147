"""Curated tables: one file for each, with its contract and how it is made of others.

A new one is a file here and a line of `registry.py`. Nothing here reads or writes.
"""

from orders_lakehouse.runtime.pandera_light import import_pandera

# Before any module here imports Pandera by itself.
import_pandera()
