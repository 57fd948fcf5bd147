"""Describe dbt's models in Dagster: asset keys, dependencies, columns and their lineage.

Only marts are assets. A staging view shows rows of one lake table under dbt's names, so it counts as that table.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orders_lakehouse.contracts.document import OWNERS
from orders_lakehouse.defs.metadata import key_of, schema_of
from orders_lakehouse.runtime.dagster_dbt_light import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtProject,
)
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.tables import ROOT
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES

PROJECT = DbtProject(project_dir=DBT_PROJECT, profiles_dir=DBT_PROJECT)

# Lake table by name of dbt's source: a copy, or the list of a copy's keys.
_TABLES = {name: copy.table for copy in COPIES for name in (copy.name, copy.keys) if name}


class Translator(DagsterDbtTranslator):
    """Marts become assets `[marts, <model>]`; descriptions and tests come from the models' yml.

    dagster-dbt asks for a model's spec at each of its events, so each spec is made once for a manifest.
    """

    def __init__(self, settings: DagsterDbtTranslatorSettings) -> None:
        super().__init__(settings)
        self._specs: dict[tuple[int, str], dg.AssetSpec] = {}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Return layer and name of a model; staging views and sources have keys, too, but are no assets."""
        if dbt_resource_props["resource_type"] == "model":
            return dg.AssetKey([models.layer_of(dbt_resource_props), dbt_resource_props["name"]])
        return super().get_asset_key(dbt_resource_props)

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Return the spec of a model; a mart depends on lake tables and other marts."""
        known = (id(manifest), unique_id)
        if known not in self._specs:
            spec = super().get_asset_spec(manifest, unique_id, project)
            self._specs[known] = _of_mart(spec, manifest, unique_id) if is_mart(manifest, unique_id) else spec
        return self._specs[known]

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """Return the spec of a test, with a description of what it demands; None for tests of other models."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if spec is None:
            return None
        test = models.node_of(manifest, unique_id)
        demand = models.demand_of(test)
        upstream = {asset_of(manifest, node) for node in test["depends_on"]["nodes"]} - {spec.asset_key}
        return dg.AssetCheckSpec(
            spec.name,
            asset=spec.asset_key,
            description=f"`{test['column_name']}`: {demand}" if test["column_name"] else demand,
            additional_deps=sorted(upstream),
            metadata=spec.metadata,
            blocking=spec.blocking,
        )

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Return the layer: marts."""
        return models.layer_of(dbt_resource_props)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return the description of the yml alone; dagster-dbt would add all SQL, and the page links to the file."""
        return str(dbt_resource_props["description"])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002 (Dagster passes it)
        """Return the owners of the lake."""
        return OWNERS


TRANSLATOR = Translator(DagsterDbtTranslatorSettings(enable_code_references=True))


def is_mart(manifest: models.Manifest, node_id: str) -> bool:
    """Return whether a node is a mart."""
    return node_id.startswith("model.") and models.layer_of(models.node_of(manifest, node_id)) == "marts"


def asset_of(manifest: models.Manifest, node_id: str) -> dg.AssetKey:
    """Return the asset that a node stands for: a mart itself, or the lake table of a staging view or a source."""
    node = models.node_of(manifest, node_id)
    if is_mart(manifest, node_id):
        return dg.AssetKey(["marts", node["name"]])
    if node["resource_type"] == "source":
        # The calendar is no table of the lake. It covers the years of all orders.
        return key_of(_TABLES.get(node["name"], ROOT.cleansed))
    (source,) = node["depends_on"]["nodes"]
    return asset_of(manifest, source)


def _of_mart(spec: dg.AssetSpec, manifest: models.Manifest, node_id: str) -> dg.AssetSpec:
    """Return the spec of a mart with the assets that it depends on, and with its columns and their lineage."""
    upstream = models.node_of(manifest, node_id)["depends_on"]["nodes"]
    return spec.replace_attributes(
        deps=list(dict.fromkeys(asset_of(manifest, node) for node in upstream))
    ).merge_attributes(
        metadata={
            "dagster/column_schema": model_schema(manifest, node_id),
            "dagster/column_lineage": column_lineage(manifest, node_id),
        }
    )


def model_schema(manifest: models.Manifest, node_id: str) -> dg.TableSchema:
    """Return the columns of a dbt model or source, with the descriptions and demands of its yml."""
    described = models.document(manifest, node_id)
    unique = {key[0] for key in described["keys"] if len(key) == 1}
    return schema_of(described["columns"], models.demands(manifest, node_id), unique)


def column_lineage(manifest: models.Manifest, node_id: str) -> dg.TableColumnLineage:
    """Return the columns of lake tables and marts that each column of a mart is made of."""
    return dg.TableColumnLineage(
        {
            column: list(dict.fromkeys(dep for node, name in origins for dep in _column_of(manifest, node, name)))
            for column, origins in models.origins(manifest, node_id).items()
        }
    )


def _column_of(manifest: models.Manifest, node_id: str, column: str) -> Iterator[dg.TableColumnDep]:
    """Yield the column of a mart or a lake table that a node's column stands for; none for the calendar."""
    if is_mart(manifest, node_id) or models.node_of(manifest, node_id)["name"] in _TABLES:
        yield dg.TableColumnDep(asset_of(manifest, node_id), column)
    elif node_id.startswith("model."):
        for source, name in models.origins(manifest, node_id)[column]:
            yield from _column_of(manifest, source, name)
