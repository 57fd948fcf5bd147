"""The shop's tables as external assets, so that lineage begins where the data begins. Nothing here is materialized."""

import dagster as dg

from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.defs.metadata import column_schema
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.entities.registry import ENTITIES


def shop_key(entity: Entity) -> dg.AssetKey:
    """Return the asset key of an entity's table in the shop."""
    return dg.AssetKey(["shop", entity.name])


def _table(entity: Entity) -> dg.AssetSpec:
    columns = [column for column in column_schema(entity.raw).columns if column.name not in LINEAGE]
    return dg.AssetSpec(
        shop_key(entity),
        group_name="shop",
        description=f"The shop's table of {entity.name.replace('_', ' ')}. The lakehouse only reads it.",
        kinds={"postgres"},
        metadata={"dagster/column_schema": dg.TableSchema(columns), "dagster/table_name": f"shop.{entity.name}"},
    )


shop_tables = [_table(entity) for entity in ENTITIES]
