"""The checks of a run's dates, in one step for each asset."""

from orders_lakehouse.defs.checks.contracts import account_checks, contract_checks
from orders_lakehouse.defs.checks.rejections import share_checks
from orders_lakehouse.defs.checks.row_warnings import warning_checks
from orders_lakehouse.defs.checks.run_checks import steps_of
from orders_lakehouse.defs.checks.totals import total_checks

run_checks = steps_of([*share_checks, *account_checks, *contract_checks, *total_checks, *warning_checks])
