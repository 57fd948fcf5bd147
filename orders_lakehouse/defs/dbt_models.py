"""Describe dbt models and sources in Dagster."""

import dagster as dg

from orders_lakehouse.defs.metadata import schema_of
from orders_lakehouse.warehouse import models


def model_schema(manifest: models.Manifest, node_id: str) -> dg.TableSchema:
    """Return the columns of a dbt model or source, with the descriptions and demands of its yml."""
    described = models.document(manifest, node_id)
    unique = {key[0] for key in described["keys"] if len(key) == 1}
    return schema_of(described["columns"], models.demands(manifest, node_id), unique)
