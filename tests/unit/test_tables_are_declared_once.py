"""A table of the shop is named where it is declared; everywhere else the registries are read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import orders_lakehouse
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.tables import FACTS, TABLES, dimension_of

PACKAGE = Path(orders_lakehouse.__file__).parent
DECLARING = ("entities", "curated", "sample_shop")
NAMES = {
    *(entity.name for entity in ENTITIES),
    *(curated.name for curated in CURATED_TABLES),
    *(fact.name for _, fact in FACTS),
    *(dimension_of(entity.cleansed) for entity in ENTITIES if entity.is_dimension),
}
PATHS = {table.path for table in TABLES if table.name in NAMES}
MODULES = {
    *(f"{orders_lakehouse.__name__}.entities.{entity.name}" for entity in ENTITIES),
    *(f"{orders_lakehouse.__name__}.curated.{curated.name}" for curated in CURATED_TABLES),
}


def modules() -> list[str]:
    files = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(str(path) for path in files if path.parts[0] not in DECLARING)


def named(tree: ast.Module) -> Iterator[str]:
    """What of a module names a table: imports, constants, and texts that are a table's name or path."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (f"line {node.lineno}: {name}" for name in [node.module, *imported] if name in MODULES)
        elif isinstance(node, ast.Constant) and node.value in NAMES | PATHS and id(node) not in documentation:
            yield f"line {node.lineno}: {node.value!r}"


@pytest.mark.parametrize("module", modules())
def test_no_module_names_a_table_that_it_does_not_declare(module: str) -> None:
    found = list(named(ast.parse(PACKAGE.joinpath(module).read_text())))
    assert found == [], f"{module} names tables: {found}; read entities or curated instead"
