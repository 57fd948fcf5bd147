{{ versions(ref("stg_products"), "product_id") }}
