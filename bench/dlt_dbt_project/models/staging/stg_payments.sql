-- The last version of each payment.
select
    * replace ({{ blanked("paid_at", has_happened("paid_at")) }}),
    {{ reasons({
        "payment_id_missing": trimmed("payment_id") ~ " is not null",
        "method_missing": "method is not null",
        "method_not_in_list": "method in ('card', 'paypal', 'voucher', 'transfer', 'cash', 'other')",
        "amount_missing": "amount is not null",
        "amount_negative": "amount >= 0",
        "amount_too_precise": "currency is null or amount = " ~ rounded("amount", "currency"),
        "currency_missing": "currency is not null",
        "currency_not_iso_4217": "currency in (select code from " ~ source("raw", "currencies") ~ ")",
        "status_missing": "status is not null",
        "status_not_in_list": "status in ('authorised', 'captured', 'refunded', 'failed')",
        "order_unknown": "order_reasons is not null",
        "order_quarantined": "order_reasons = ''",
    }) }} as reasons,
    {{ warnings({
        "payment_id_has_unseen_characters": has_no_unseen_characters("payment_id"),
        "currency_not_of_order": "currency = order_currency",
        "paid_at_out_of_range": has_happened("paid_at"),
    }) }} as warnings
from (
    select
        payments.payment_id,
        payments.order_id,
        {{ trimmed("payments.method") }} as method,
        payments.amount::decimal(12, 2)::decimal(18, 4) as amount,
        {{ code("payments.currency") }} as currency,
        {{ trimmed("payments.status") }} as status,
        payments.paid_at,
        orders.reasons as order_reasons,
        orders.currency as order_currency,
        payments.updated_at,
        payments.deleted_at is not null or coalesce(orders.is_deleted, false) as is_deleted
    from {{ source("raw", "payments") }} as payments
    left join {{ ref("stg_orders") }} as orders using (order_id)
    qualify row_number() over (partition by payments.payment_id order by payments.updated_at desc) = 1
) as typed
