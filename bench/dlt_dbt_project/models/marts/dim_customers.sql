select
    surrogate_key as customer_key,
    customer_id,
    case when customer_id is null then 'Unknown' else customer_name end as customer_name,
    customer_email,
    date_of_birth,
    registration_date,
    address,
    city,
    state,
    postal_code,
    country_code,
    valid_from,
    valid_to,
    is_current,
    coalesce(is_deleted, false) as is_deleted,
    is_inferred
from ({{ members(ref("cleansed_customers"), ref("curated_orders"), "customer_id") }}) as members
