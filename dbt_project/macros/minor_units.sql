{#-
    Number of decimals of an amount in a currency, as in `orders_lakehouse/contracts/codes/currencies.csv`; a test
    compares both.
-#}
{% macro minor_units(currency) -%}
    case
        when {{ currency }} in (
            'ADP', 'BIF', 'BYR', 'CLP', 'DJF', 'ESP', 'GNF', 'ISK', 'ITL', 'JPY', 'KMF', 'KRW', 'LUF', 'MGF',
            'MRO', 'PYG', 'RWF', 'SLL', 'STD', 'TMM', 'TRL', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF',
            'ZMK', 'ZWD'
        ) then 0
        when {{ currency }} in (
            'BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'
        ) then 3
        when {{ currency }} in (
            'CLF', 'UYW', 'XAG', 'XAU', 'XBA', 'XBB', 'XBC', 'XBD', 'XDR', 'XPD', 'XPT', 'XSU', 'XTS', 'XUA',
            'XXX'
        ) then 4
        else 2
    end
{%- endmacro %}
