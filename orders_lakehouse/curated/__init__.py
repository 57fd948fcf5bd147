"""Curated tables: one file for each, with its contract and how it is made of others.

A new one is a file here and a line of `registry.py`. Nothing here reads or writes.
"""
