"""Which two commits are compared."""

from pathlib import Path

import pytest

from pr_checks.commits import CommitError, sides, unpack
from tests.support.git import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit on `main`, and a branch with another one."""
    git(tmp_path, "init")
    for name, branch in (("first.txt", "main"), ("second.txt", "change")):
        git(tmp_path, "checkout", "-B", branch)
        (tmp_path / name).write_text(name)
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--message", name)
    return tmp_path


def test_change_begins_where_it_left_its_base(repository: Path) -> None:
    began = git(repository, "rev-parse", "main")
    git(repository, "checkout", "main")
    (repository / "third.txt").write_text("")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "Somebody else's")
    git(repository, "checkout", "change")
    found = sides(repository, "main")
    assert (found.base, found.change) == (began, git(repository, "rev-parse", "HEAD"))
    assert (found.changed, found.untracked) == (("second.txt",), ())
    assert found.label == found.change[:10]


def test_uncommitted_files_belong_to_the_change_untracked_do_not(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (repository / "first.txt").write_text("otherwise")
    (repository / "new.txt").write_text("")
    found = sides(repository, "main")
    assert (found.changed, found.untracked) == (("first.txt", "second.txt"), ("new.txt",))
    assert found.label.endswith("-dirty")
    # The working tree stays as it is.
    assert git(repository, "status", "--porcelain") == "M first.txt\n?? new.txt"
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(repository, found.change, folder)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "first.txt": "otherwise",
        "second.txt": "second.txt",
    }


def test_missing_base_is_an_error_with_next_step(repository: Path) -> None:
    with pytest.raises(CommitError, match=r"no common history of 'nowhere'.*fetch it first"):
        sides(repository, "nowhere")
    git(repository, "checkout", "--orphan", "stranger")
    git(repository, "commit", "--message", "Of its own")
    with pytest.raises(CommitError, match="no common history of 'main'"):
        sides(repository, "main")
