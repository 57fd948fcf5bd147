"""Every entity, in the order in which layers list them; a parent precedes its children."""

from orders_lakehouse.entities import (
    customers,
    order_items,
    orders,
    payments,
    products,
    shipment_items,
    shipments,
    warehouses,
)
from orders_lakehouse.entities.base import Entity

ENTITIES: tuple[Entity, ...] = (
    customers.ENTITY,
    products.ENTITY,
    warehouses.ENTITY,
    orders.ENTITY,
    order_items.ENTITY,
    payments.ENTITY,
    shipments.ENTITY,
    shipment_items.ENTITY,
)
