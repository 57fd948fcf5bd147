select * from {{ ref("stg_products") }} where reasons <> '' and not is_deleted
