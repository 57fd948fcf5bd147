"""`lakehouse contracts`: the contracts beside those that were published, and beside what reads them."""

import json

import click

from orders_lakehouse.cli.formatting import program
from orders_lakehouse.contracts.compatibility import Documents, incompatible
from orders_lakehouse.contracts.document import documents
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import TABLES
from orders_lakehouse.warehouse.dbt_sources import columns_read_by_dbt

PUBLISHED = PROJECT / "orders_lakehouse" / "contracts" / "published.json"


def published() -> Documents:
    """The contracts as they were published, by path; none where there is no such file."""
    found: Documents = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {}
    return found


@click.command("contracts")
@click.option("--write", is_flag=True, help="Publish them, unless something is incompatible.")
def command(write: bool) -> None:
    """Compare the contracts with those that were published, and with what reads them.

    A contract that changes what others rely on needs a new version; a column that dbt or a table downstream reads must
    be offered. Ends with status 1 when something is incompatible, or not published as it is.
    """
    if not contracts(write=write):
        raise SystemExit(1)


def contracts(*, write: bool) -> bool:
    """Print what is incompatible; or publish the contracts, unless something is.

    Args:
        write: Publish them.

    Returns:
        Whether the contracts are compatible, and published as they are.
    """
    before, now = published(), documents(TABLES)
    found = incompatible(before, now, columns_read_by_dbt(), TABLES)
    for finding in found:
        click.echo(str(finding))
    if write and not found:
        PUBLISHED.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        click.echo(f"{len(now)} contracts are published in {PUBLISHED.relative_to(PROJECT)}; commit it.")
        return True
    if write:
        click.echo(f"\nNothing was written: {len(found)} found, expected none.")
        return False
    stale = [path for path in dict.fromkeys((*before, *now)) if before.get(path) != now.get(path)]
    if stale:
        click.echo(f"Other than published: {', '.join(stale)}. `{program()} contracts --write` publishes them.")
    elif not found:
        click.echo(f"{len(now)} contracts are as they were published, and offer what is read of them.")
    return not found and not stale
