"""dagster-dbt without dbt: what a tag selects is what dbt would select."""

import json
import subprocess
import sys

import pytest

from orders_lakehouse.runtime.dagster_dbt_light import selected
from orders_lakehouse.warehouse.models import manifest

# In a process where dagster-dbt finds dbt, and asks it.
_BY_DBT = """
import json, sys
from dagster_dbt.utils import DBT_PYTHON_VERSION, select_unique_ids
parsed = json.load(sys.stdin)
assert DBT_PYTHON_VERSION is not None
print(json.dumps([sorted(select_unique_ids(*criteria, "", None, parsed)) for criteria in json.loads(sys.argv[1])]))
"""
CRITERIA = [("tag:partitioned", ""), ("fqn:*", "tag:partitioned"), ("fqn:*", "tag:nobody"), ("tag:nobody", "")]


def test_tag_selects_as_in_dbt() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BY_DBT, json.dumps(CRITERIA)],
        input=json.dumps(manifest()),
        capture_output=True,
        text=True,
        check=True,
    )
    # Before it, dbt says that nothing has the tag that nobody has; and unit tests are none of Dagster's business.
    found = json.loads(done.stdout.splitlines()[-1])
    by_dbt = [{name for name in ids if not name.startswith("unit_test.")} for ids in found]
    assert [selected(*criteria, "", None, manifest()) for criteria in CRITERIA] == by_dbt
    assert by_dbt[0]
    assert by_dbt[1]


@pytest.mark.parametrize(
    ("select", "exclude", "selector"),
    [
        ("path:models", "", ""),
        ("tag:a+", "", ""),
        ("tag:a tag:b", "", ""),
        ("fqn:*", "tag:a,tag:b", ""),
        ("fqn:*", "", "partitioned"),
    ],
)
def test_selection_other_than_one_tag_is_refused(select: str, exclude: str, selector: str) -> None:
    with pytest.raises(ValueError, match="is not supported here"):
        selected(select, exclude, selector, None, manifest())
