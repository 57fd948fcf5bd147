{{ versions(ref("stg_products"), "product_id", [
    "product_name", "category", "manufacturer", "currency", "unit_price", "is_deleted",
]) }}
