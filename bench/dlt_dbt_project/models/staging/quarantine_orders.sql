select * from {{ ref("stg_orders") }} where reasons <> '' and not is_deleted
