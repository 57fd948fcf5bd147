"""Postgres as the warehouse: tables that dbt reads are loaded from the lake into the schema `lake`."""
