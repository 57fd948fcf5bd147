{{ config(unique_key='payment_method_key') }}

-- The list is that of the payments' contract. A method that is missing here makes fct_orders fail, and does not pass as
-- unknown.
with

methods as (

    select 'card' as method
    union all
    select 'paypal' as method
    union all
    select 'voucher' as method
    union all
    select 'transfer' as method
    union all
    select 'cash' as method
    union all
    select 'other' as method

)

select
    {{ surrogate_key('method') }} as payment_method_key,
    method
from methods

union all

select
    {{ unknown_key() }} as payment_method_key,
    'unknown' as method
