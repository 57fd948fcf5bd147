"""How a dbt model or source presents itself in Dagster."""

import dagster as dg

from orders_lakehouse.defs.metadata import schema_of
from orders_lakehouse.warehouse import models


def model_schema(manifest: models.Manifest, node_id: str) -> dg.TableSchema:
    """Columns of a dbt model or source, and what its yml says of them."""
    described = models.document(manifest, node_id)
    unique = {key[0] for key in described["keys"] if len(key) == 1}
    return schema_of(described["columns"], models.demands(manifest, node_id), unique)
