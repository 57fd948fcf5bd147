"""The rules of the tests themselves: where helpers live, and how files and tests are named and sized."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders_lakehouse.settings import PROJECT

TESTS = PROJECT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
MAX_NAME_CHARACTERS = 60
MAX_FILE_LINES = 400


def name_of(path: Path) -> str:
    return str(path.relative_to(TESTS))


def imported(path: Path) -> Iterator[str]:
    """Modules of the tests that a file imports, also in a script that it runs in another process."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "from tests." in node.value:
            yield from (line.split()[1] for line in node.value.splitlines() if line.startswith("from tests."))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_support_is_imported_from_tests(path: Path) -> None:
    ours = {module for module in imported(path) if module.startswith("tests.")}
    assert {module for module in ours if not module.startswith("tests.support.")} == set()


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "conftest.py"], ids=name_of)
def test_conftest_defines_only_fixtures_and_hooks(path: Path) -> None:
    others = [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("pytest_")
        and not any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert others == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_of_tests_have_at_most_60_characters(path: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert [name for name in names if name.startswith("test_") and len(name) > MAX_NAME_CHARACTERS] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_have_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
