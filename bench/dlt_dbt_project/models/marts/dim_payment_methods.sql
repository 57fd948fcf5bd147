select md5(method) as payment_method_key, method
from (values ('card'), ('paypal'), ('voucher'), ('transfer'), ('cash'), ('other')) as methods (method)
union all
select {{ unknown_key() }}, 'unknown'
