-- The last version of each payment.
select
    *,
    {{ reasons({
        "payment_id_missing": trimmed("payment_id") ~ " is not null",
        "method_missing": "method is not null",
        "method_not_in_list": "method in ('card', 'paypal', 'voucher', 'transfer', 'cash', 'other')",
        "amount_missing": "amount is not null",
        "amount_negative": "amount >= 0",
        "currency_missing": "currency is not null",
        "currency_not_iso_4217": "currency in (select code from " ~ source("raw", "currencies") ~ ")",
        "status_missing": "status is not null",
        "status_not_in_list": "status in ('authorised', 'captured', 'refunded', 'failed')",
        "order_unknown": "order_reasons is not null",
        "order_quarantined": "order_reasons = ''",
    }) }} as reasons
from (
    select
        payments.payment_id,
        payments.order_id,
        {{ trimmed("payments.method") }} as method,
        payments.amount::decimal(18, 2) as amount,
        upper({{ trimmed("payments.currency") }}) as currency,
        {{ trimmed("payments.status") }} as status,
        payments.paid_at,
        orders.reasons as order_reasons,
        payments.deleted_at is not null or coalesce(orders.is_deleted, false) as is_deleted
    from {{ source("raw", "payments") }} as payments
    left join {{ ref("stg_orders") }} as orders using (order_id)
    qualify row_number() over (partition by payments.payment_id order by payments.updated_at desc) = 1
) as typed
