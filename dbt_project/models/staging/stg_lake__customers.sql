with

source as (

    select * from {{ source('lake', 'customers') }}

),

renamed as (

    select
        -- ids
        customer_id,

        -- text
        full_name as customer_name,
        email as customer_email,
        address,
        city,
        state,
        postal_code,
        country_code,

        -- booleans
        is_deleted,

        -- dates
        date_of_birth,
        registration_date,
        captured_on as captured_date,

        -- timestamps
        registered_at,
        updated_at,
        captured_at

    from source

)

select * from renamed
