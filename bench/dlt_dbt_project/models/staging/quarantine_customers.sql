select * from {{ ref("stg_customers") }} where reasons <> '' and not is_deleted
