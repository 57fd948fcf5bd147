-- The last version of each order.
select
    * replace (
        {{ blanked("shipped_at", has_happened("shipped_at")) }},
        {{ blanked("delivered_at", has_happened("delivered_at")) }}
    ),
    {{ reasons({
        "order_id_missing": trimmed("order_id") ~ " is not null",
        "ordered_at_missing": "ordered_at is not null",
        "status_missing": "status is not null",
        "status_not_in_list": "status in ('placed', 'paid', 'shipped', 'delivered', 'cancelled', 'returned')",
        "currency_missing": "currency is not null",
        "currency_not_iso_4217": "currency in (select code from " ~ source("raw", "currencies") ~ ")",
        "ordered_at_in_future": "ordered_at <= updated_at + interval 1 day",
        "ordered_at_out_of_range": "business_date = order_date",
    }) }} as reasons,
    {{ warnings({
        "order_id_has_unseen_characters": has_no_unseen_characters("order_id"),
        "shipped_at_out_of_range": has_happened("shipped_at"),
        "delivered_at_out_of_range": has_happened("delivered_at"),
        "shipped_before_ordered": "shipped_at >= ordered_at",
        "delivered_before_shipped":
            "coalesce(delivered_at >= shipped_at, true) and coalesce(delivered_at >= ordered_at, true)",
    }) }} as warnings
from (
    select
        *,
        case
            when business_date between date '{{ var("start") }}' and captured_on + 1 then business_date
            else captured_on
        end::date as order_date
    from (
        select
            order_id,
            {{ key_or_null("customer_id") }} as customer_id,
            ordered_at,
            (ordered_at at time zone '{{ var("timezone") }}')::date as business_date,
            greatest((updated_at at time zone '{{ var("timezone") }}')::date, date '{{ var("start") }}') as captured_on,
            {{ trimmed("status") }} as status,
            {{ code("currency") }} as currency,
            shipped_at,
            delivered_at,
            updated_at,
            deleted_at is not null as is_deleted
        from {{ source("raw", "orders") }}
        qualify row_number() over (partition by order_id order by updated_at desc) = 1
    ) as typed
) as dated
where order_date between date '{{ var("start") }}' and date '{{ var("last") }}'
