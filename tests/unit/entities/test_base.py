"""What an entity refuses to be declared as."""

from dataclasses import replace

import pytest

from orders_lakehouse.entities import order_items


def test_key_with_the_parents_key_in_second_place_is_refused() -> None:
    with pytest.raises(ValueError, match="expected order_id, the key of its parent, as the first column"):
        replace(order_items.ENTITY, key=("line_number", "order_id"))
