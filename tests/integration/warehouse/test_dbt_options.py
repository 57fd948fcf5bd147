"""dbt's options in the environment of a run: they are somebody else's, and change nothing."""

import pytest

from tests.support.lakehouse import Lakehouse, failures
from tests.support.late_changes import SHOP

pytestmark = pytest.mark.slow

RANGE = ("2017-01-01", "2017-01-09")
# Each would empty, redo, leave out or stop something.
OPTIONS = {
    "DBT_EMPTY": "1",
    "DBT_FULL_REFRESH": "1",
    "DBT_TARGET": "redshift",
    "DBT_PROFILE": "nobody",
    "DBT_INDIRECT_SELECTION": "empty",
    "DBT_FAIL_FAST": "1",
    "DBT_DEFER": "1",
    "DBT_STATE": "nowhere",
    "DBT_FROM_DATE": "2017-01-02",
    "DBT_TO_DATE": "2017-01-02",
    "DBT_WARN_ERROR": "1",
    "DBT_WAREHOUSE_HOST": "nowhere.invalid",
    "DBT_USE_COLORS": "1",
}


@pytest.mark.thorough
def test_run_with_dbt_options_equals_run_without(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    first = lakehouse.run(*RANGE)
    assert first.success, failures(first)
    before = lakehouse.mart_checksums()
    checked = sorted(str(check.asset_check_key) for check in first.get_asset_check_evaluations())
    for name, value in OPTIONS.items():
        monkeypatch.setenv(name, value)

    again = lakehouse.run("2017-01-09")

    assert again.success, failures(again)
    assert lakehouse.wrong_marts() == {}
    assert lakehouse.mart_checksums() == before
    assert sorted(str(check.asset_check_key) for check in again.get_asset_check_evaluations()) == checked
