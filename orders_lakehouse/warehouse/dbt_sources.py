"""The columns of the lake that dbt reads, as its sources name them."""

import yaml

from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.warehouse.copies import COPIES

_SOURCES = DBT_PROJECT / "models" / "staging" / "_lake__sources.yml"


def columns_read_by_dbt() -> dict[str, dict[str, list[str]]]:
    """Return the columns that dbt's sources name, for sources that are copies of lake tables.

    Returns:
        Columns by path of the lake table, by name of the source, such as `dbt source lake.orders`.
    """
    (lake,) = yaml.safe_load(_SOURCES.read_text())["sources"]
    named = {source["name"]: [column["name"] for column in source["columns"]] for source in lake["tables"]}
    read = [copy for copy in COPIES if copy.name in named]
    return {f"dbt source lake.{copy.name}": {copy.table.path: named[copy.name]} for copy in read}
