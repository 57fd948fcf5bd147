"""A Dagster lakehouse for e-commerce orders."""
