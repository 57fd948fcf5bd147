select * from {{ ref("stg_orders") }} where reasons = '' or is_deleted
