"""What the checks of pull requests run: no check is left out, and none is run twice."""

import dagster as dg
import pytest

from orders_lakehouse.definitions import defs
from orders_lakehouse.defs.reconciliation import UPKEEP
from pr_checks.impact import LAYERS, from_first
from pr_checks.run import selections

pytestmark = pytest.mark.xdist_group("definitions")
GRAPH = defs.resolve_asset_graph()


def through(layer: str) -> set[dg.AssetCheckKey]:
    return {key for key in GRAPH.asset_check_keys if key.name == "gets_through" and key.asset_key.path[0] == layer}


# Checks that the step of a table evaluates, by layer: of its capture, and that the step of a dimension succeeded.
WITH_THE_TABLE = {
    "raw": {
        key for key in GRAPH.asset_check_keys if key.name in ("raw_matches_source", "schema_drift", "key_stands_once")
    },
    "cleansed": through("cleansed"),
}


def checks_of(selected: dg.AssetSelection) -> set[dg.AssetCheckKey]:
    return set(selected.resolve_checks(GRAPH))


@pytest.mark.parametrize("first", [*LAYERS, None])
def test_every_check_runs_once_unless_its_table_is_skipped(first: str | None) -> None:
    made = from_first([first] if first else [])
    runs = selections(made)
    checks = [key for selected in runs for key in checks_of(selected)]
    assert len(checks) == len(set(checks))
    not_made = set().union(*(keys for layer, keys in WITH_THE_TABLE.items() if layer not in made))
    assert set(checks) == set(GRAPH.asset_check_keys) - not_made
    # A fact that is built first leaves out the dates that fail: what a run of dates does not judge may not fail before.
    assert not made or not checks_of(runs[0]) & checks_of(UPKEEP)


def test_assets_of_the_layers_are_made_and_no_others() -> None:
    made, *rest = selections(from_first(["marts"]))
    assert {key.path[0] for key in made.resolve(GRAPH)} == {"marts"}
    assert [selected.resolve(GRAPH) for selected in (*rest, *selections(()))] == [set(), set()]
    everything, _ = selections(LAYERS)
    assert set(everything.resolve(GRAPH)) == set(GRAPH.materializable_asset_keys)
