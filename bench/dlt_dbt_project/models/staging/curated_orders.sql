select * from {{ ref("cleansed_orders") }} where not is_deleted
