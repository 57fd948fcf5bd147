select * from {{ ref("stg_payments") }} where reasons <> '' and not is_deleted
