"""`lakehouse contracts`: compare the contracts with the published ones, and with the tables that read them."""

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
    """Return the published contracts by path; none if the file does not exist."""
    contracts_by_path: Documents = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {}
    return contracts_by_path


@click.command("contracts")
@click.option("--write", is_flag=True, help="Publish the contracts, unless one is incompatible.")
def command(write: bool) -> None:
    """Compare the contracts with the published ones, and with the tables that read them.

    An incompatible change of a contract needs a new version, and a column that dbt or a table downstream reads must
    exist. Ends with status 1 if a contract is incompatible, or differs from the published one.
    """
    if not contracts(write=write):
        raise SystemExit(1)


def contracts(*, write: bool) -> bool:
    """Print incompatible changes; or publish the contracts if there are none.

    Args:
        write: Publish the contracts.

    Returns:
        Whether the contracts are compatible, and equal to the published ones.
    """
    before, now = published(), documents(TABLES)
    problems = incompatible(before, now, columns_read_by_dbt(), TABLES)
    for problem in problems:
        click.echo(str(problem))
    if write and not problems:
        PUBLISHED.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        click.echo(f"{len(now)} contracts are published in {PUBLISHED.relative_to(PROJECT)}; commit it.")
        return True
    if write:
        click.echo(f"\nNothing was written: {len(problems)} found, expected none.")
        return False
    stale = [path for path in dict.fromkeys((*before, *now)) if before.get(path) != now.get(path)]
    if stale:
        click.echo(f"Other than published: {', '.join(stale)}. `{program()} contracts --write` publishes them.")
    elif not problems:
        click.echo(f"{len(now)} contracts equal the published ones, and have all columns that are read.")
    return not problems and not stale
