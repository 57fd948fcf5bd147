"""Build some layers of a lakehouse again, then run every check: `python -m pr_checks.run FIRST LAST [LAYER ...]`.

The process has the package of the change on its path. It prints its outcome as JSON.
"""

import json
import sys
from datetime import date

import dagster as dg

from orders_lakehouse.cli.runs import run_selection
from orders_lakehouse.definitions import defs
from orders_lakehouse.defs.reconciliation import UPKEEP
from pr_checks.impact import places


def selections(layers: tuple[str, ...]) -> list[dg.AssetSelection]:
    """Return the selections to run in order: assets of some layers with their checks, then all other checks.

    Upkeep runs at the end, as always: the first build of a fact leaves out every date on which something fails by then.
    """
    # The check of a capture runs with its raw asset only.
    checks = dg.AssetSelection.checks(*(defs.asset_checks or ())) | dg.AssetSelection.checks_for_assets(
        *(asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.can_subset)
    )
    if not layers:
        return [checks]
    made = dg.AssetSelection.groups(*places(layers)) - UPKEEP
    return [made, checks - made]


def main() -> None:
    """Run, and print the outcome: runs (in the form of `lakehouse backfill --json`), declared (asset and check)."""
    first, last, *layers = sys.argv[1:]
    dates = date.fromisoformat(first), date.fromisoformat(last)
    outcomes = [run_selection(selected, *dates, lambda *_: None) for selected in selections(tuple(layers))]
    declared = sorted((key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys)
    print(json.dumps({"runs": [outcome.as_data() for outcome in outcomes], "declared": declared}))


if __name__ == "__main__":
    main()
