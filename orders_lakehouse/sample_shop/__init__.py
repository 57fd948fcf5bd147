"""The sample shop: a year of a real grocer's orders in the shape of an OLTP database (`schema.sql`).

Here belongs what builds its tables and loads them into a Postgres that has none. What reads a
shop, this one or yours, belongs to `sources/`; nothing of the lakehouse depends on this package.
"""
