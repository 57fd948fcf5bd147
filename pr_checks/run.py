"""Make some layers of a lakehouse anew, then run every check: `python -m pr_checks.run FIRST LAST [LAYER ...]`.

In a process of its own, with the package of the change on its path. What came of it goes to stdout, as JSON.
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
    """What to run, one after the other: the assets of some layers with their checks, then all others that can run.

    Upkeep comes after, as it does elsewhere: a fact that is built for the first time leaves out every date on which
    something fails until then.
    """
    # A table of raw judges its capture itself, which nobody else can.
    checks = dg.AssetSelection.checks(*(defs.asset_checks or ())) | dg.AssetSelection.checks_for_assets(
        *(asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.can_subset)
    )
    if not layers:
        return [checks]
    made = dg.AssetSelection.groups(*places(layers)) - UPKEEP
    return [made, checks - made]


def main() -> None:
    """Run, and say what came of it: runs (as `lakehouse backfill --json` has them), declared (asset and check)."""
    first, last, *layers = sys.argv[1:]
    dates = date.fromisoformat(first), date.fromisoformat(last)
    outcomes = [run_selection(selected, *dates, lambda *_: None) for selected in selections(tuple(layers))]
    declared = sorted((key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys)
    print(json.dumps({"runs": [outcome.as_data() for outcome in outcomes], "declared": declared}))


if __name__ == "__main__":
    main()
