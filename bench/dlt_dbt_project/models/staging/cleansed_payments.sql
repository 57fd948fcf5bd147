select * from {{ ref("stg_payments") }} where reasons = '' or is_deleted
