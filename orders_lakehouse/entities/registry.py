"""Every entity, in the order in which layers list them; a parent precedes its children."""

from orders_lakehouse.entities import customers, order_items, orders, payments, products
from orders_lakehouse.entities.base import Entity

ENTITIES: tuple[Entity, ...] = (
    customers.ENTITY,
    products.ENTITY,
    orders.ENTITY,
    order_items.ENTITY,
    payments.ENTITY,
)
