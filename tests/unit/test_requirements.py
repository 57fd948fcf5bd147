"""What is installed is pinned by version and hash, and the files say nothing of where it came from."""

import re
from pathlib import Path

import pytest

from orders_lakehouse.settings import PROJECT

FILES = sorted(PROJECT.glob("requirements*.txt"))


def entries(path: Path) -> list[str]:
    """Each requirement with the lines that belong to it, without comments."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


def test_there_are_the_three_files() -> None:
    assert [path.name for path in FILES] == ["requirements-dev.txt", "requirements-uv.txt", "requirements.txt"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_has_a_version_and_a_hash(path: Path) -> None:
    loose = [
        entry
        for entry in entries(path)
        if not re.match(r"[A-Za-z0-9._\-\[\]]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert loose == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_index_is_named(path: Path) -> None:
    assert re.findall(r"\S*://\S*|--(?:extra-)?index-url.*|--find-links.*|^.* @ .*$|-i .*", path.read_text()) == []


def test_uv_is_the_one_of_the_requirements() -> None:
    (uv,) = entries(PROJECT / "requirements-uv.txt")
    assert (
        uv.split() == next(entry for entry in entries(PROJECT / "requirements-dev.txt") if entry[:4] == "uv==").split()
    )


def test_make_installs_nothing_without_a_hash() -> None:
    installs = [
        line for line in (PROJECT / "Makefile").read_text().splitlines() if "pip install" in line and "@" in line
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation --editable ." in line for line in installs)
