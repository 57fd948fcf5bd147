"""Make some layers of a lakehouse anew, then run every check: `python -m pr_checks.run FIRST LAST [LAYER ...]`.

In a process of its own, with the package of the change on its path. What came of it goes to stdout, as JSON.
"""

import json
import sys
from dataclasses import asdict
from datetime import date

import dagster as dg

from orders_lakehouse.definitions import defs
from orders_lakehouse.instance import Outcome, run_selection

# Groups of assets by layer.
_GROUPS = {"marts": ("staging", "marts")}


def selection(layers: tuple[str, ...]) -> dg.AssetSelection:
    """The assets of some layers, and all checks that can run."""
    groups = [group for layer in layers for group in _GROUPS.get(layer, (layer,))]
    # A table of raw judges its capture itself, which nobody else can.
    checks = dg.AssetSelection.checks(*(defs.asset_checks or ())) | dg.AssetSelection.checks_for_assets(
        *(asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) and asset.can_subset)
    )
    return dg.AssetSelection.groups(*groups) | checks if groups else checks


def main() -> None:
    """Run, and say what came of it."""
    first, last, *layers = sys.argv[1:]
    outcome = run_selection(
        selection(tuple(layers)), date.fromisoformat(first), date.fromisoformat(last), lambda *_: None
    )
    print(json.dumps(as_document(outcome)))


def as_document(outcome: Outcome) -> dict[str, object]:
    """An outcome as plain data, in the form of `lakehouse backfill --json`."""
    checks = [
        {"asset": asset, "check": name, **asdict(check)} for (asset, name), check in sorted(outcome.checks.items())
    ]
    return {"run_id": outcome.run_id, "success": outcome.success, "checks": checks, "errors": outcome.errors}


if __name__ == "__main__":
    main()
