{{ versions(ref("stg_customers"), "customer_id") }}
