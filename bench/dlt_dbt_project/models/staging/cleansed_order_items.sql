select * from {{ ref("stg_order_items") }} where reasons = '' or is_deleted
