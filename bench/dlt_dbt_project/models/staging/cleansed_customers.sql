{{ versions(ref("stg_customers"), "customer_id", [
    "customer_name", "customer_email", "address", "city", "state", "postal_code", "country_code", "is_deleted",
    "date_of_birth", "registration_date",
]) }}
