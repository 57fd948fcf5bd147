"""Postgres as the warehouse: what dbt reads is loaded from the lake into the schema `lake`."""
