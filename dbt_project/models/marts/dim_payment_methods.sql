-- The list is that of the payments' contract: a method that is missing here fails fct_orders instead of passing
-- as unknown.
with

methods (method) as (

    values ('card'), ('paypal'), ('voucher'), ('transfer'), ('cash'), ('other')

)

select
    md5(method) as payment_method_key,
    method
from methods

union all

select
    {{ unknown_key() }} as payment_method_key,
    'unknown' as method
