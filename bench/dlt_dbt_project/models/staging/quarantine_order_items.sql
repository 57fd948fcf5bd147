select * from {{ ref("stg_order_items") }} where reasons <> '' and not is_deleted
