select
    *,
    {{ reasons({
        "customer_id_missing": trimmed("customer_id") ~ " is not null",
        "email_malformed": "regexp_matches(email, '^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$')",
        "country_code_not_iso_3166": "country_code in (select code from " ~ source("raw", "countries") ~ ")",
        "registered_at_in_future": "registered_at <= updated_at + interval 1 day",
        "date_of_birth_out_of_range":
            "date_of_birth >= date '1900-01-01' and coalesce(date_of_birth <= registration_date, true)",
    }) }} as reasons
from (
    select
        customer_id,
        {{ trimmed("full_name") }} as customer_name,
        lower({{ trimmed("email") }}) as customer_email,
        customer_email as email,
        date_of_birth,
        registered_at,
        (registered_at at time zone '{{ var("timezone") }}')::date as registration_date,
        {{ trimmed("address") }} as address,
        {{ trimmed("city") }} as city,
        {{ trimmed("state") }} as state,
        {{ trimmed("postal_code") }} as postal_code,
        upper({{ trimmed("country_code") }}) as country_code,
        updated_at,
        deleted_at is not null as is_deleted
    from {{ source("raw", "customers") }}
) as typed
