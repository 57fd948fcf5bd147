{%- set email = "regexp_matches(customer_email, '^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$')" %}
{%- set country = "country_code in (select code from " ~ source("raw", "countries") ~ ")" %}
{%- set birth = "date_of_birth >= date '1900-01-01' and coalesce(date_of_birth <= registration_date, true)" %}
select
    * replace (
        {{ blanked("customer_email", email) }},
        {{ blanked("country_code", country) }},
        {{ blanked("registered_at", has_happened("registered_at")) }},
        {{ blanked("registration_date", has_happened("registered_at")) }},
        {{ blanked("date_of_birth", birth) }}
    ),
    {{ reasons({"customer_id_missing": trimmed("customer_id") ~ " is not null"}) }} as reasons,
    {{ warnings({
        "email_malformed": email,
        "country_code_not_iso_3166": country,
        "customer_id_has_unseen_characters": has_no_unseen_characters("customer_id"),
        "registered_at_out_of_range": has_happened("registered_at"),
        "date_of_birth_out_of_range": birth,
    }) }} as warnings
from (
    select
        customer_id,
        {{ trimmed("full_name") }} as customer_name,
        lower({{ trimmed("email") }}) as customer_email,
        date_of_birth,
        registered_at,
        (registered_at at time zone '{{ var("timezone") }}')::date as registration_date,
        {{ trimmed("address") }} as address,
        {{ trimmed("city") }} as city,
        {{ trimmed("state") }} as state,
        {{ trimmed("postal_code") }} as postal_code,
        {{ code("country_code") }} as country_code,
        updated_at,
        deleted_at is not null as is_deleted
    from {{ source("raw", "customers") }}
) as typed
