"""The rules of the tests themselves: where helpers live, and how files and tests are named and sized."""

import ast
import re
from collections.abc import Iterator

from orders_lakehouse.settings import PROJECT

TESTS = PROJECT / "tests"
TEXTS = {str(path.relative_to(TESTS)): path.read_text() for path in sorted(TESTS.rglob("*.py"))}
MAX_NAME_CHARACTERS = 60
MAX_FILE_LINES = 400


def imported(text: str) -> Iterator[str]:
    """Modules that a file imports, also in a script that it runs in another process."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^from (tests\.\S+) import", node.value, re.MULTILINE)


def test_only_support_is_imported_from_tests() -> None:
    modules = [(path, module) for path, text in TEXTS.items() for module in imported(text)]
    ours = [(path, module) for path, module in modules if module.startswith("tests.")]
    assert [(path, module) for path, module in ours if not module.startswith("tests.support")] == []


def test_conftest_defines_only_fixtures_and_hooks() -> None:
    defined = [
        (path, node)
        for path, text in TEXTS.items()
        if path.endswith("conftest.py")
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("pytest_")
    ]
    others = [
        (path, node.name) for path, node in defined if "fixture" not in " ".join(map(ast.unparse, node.decorator_list))
    ]
    assert others == []


def test_names_of_tests_have_at_most_60_characters() -> None:
    functions = [
        node for text in TEXTS.values() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)
    ]
    names = [node.name for node in functions if node.name.startswith("test_")]
    assert [name for name in names if len(name) > MAX_NAME_CHARACTERS] == []


def test_files_have_at_most_400_lines() -> None:
    lines = {path: len(text.splitlines()) for path, text in TEXTS.items()}
    assert {path: number for path, number in lines.items() if number > MAX_FILE_LINES} == {}
