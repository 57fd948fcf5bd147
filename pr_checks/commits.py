"""The two sides of a comparison, as git has them."""

import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from orders_lakehouse.errors import ExpectedError


class CommitError(ExpectedError):
    """There is no such commit, or no repository."""


@dataclass(frozen=True)
class Sides:
    """What is compared.

    Attributes:
        base: Commit where the change began, its whole hash.
        change: Commit of the change; of what is not committed yet, one that no branch knows.
        label: How a person calls the change.
        changed: Files that differ, relative to the repository.
        untracked: Files that git does not know, and that are left out.
    """

    base: str
    change: str
    label: str
    changed: tuple[str, ...]
    untracked: tuple[str, ...]


def sides(repository: Path, base: str) -> Sides:
    """Find where the change began, and what it is: the working tree with everything that git knows of.

    Args:
        repository: Its root.
        base: Branch or commit that the change is to be merged into.

    Raises:
        CommitError: `base` cannot be found, or shares no history with what is checked out.
    """
    try:
        began = _git(repository, "merge-base", base, "HEAD")
    except CommitError as error:
        raise CommitError(
            f"found no common history of {base!r} and what is checked out ({error}); expected a branch or commit that "
            "the change began at. Name one with BASE=..., and fetch it first: in CI, with its whole history."
        ) from None
    # A commit of what is not committed yet, whoever it is by; nothing is said when everything is.
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    change = _git(repository, *author, "stash", "create") or _git(repository, "rev-parse", "HEAD")
    return Sides(
        base=began,
        change=change,
        label=_git(repository, "describe", "--always", "--dirty", "--abbrev=10"),
        changed=tuple(_git(repository, "diff", "--name-only", "--no-renames", began, change).splitlines()),
        untracked=tuple(_git(repository, "ls-files", "--others", "--exclude-standard").splitlines()),
    )


def unpack(repository: Path, commit: str, folder: Path) -> None:
    """Put the files of a commit into a folder."""
    packed = io.BytesIO(_run(repository, "archive", commit))
    with tarfile.open(fileobj=packed) as files:
        files.extractall(folder, filter="data")


def _git(repository: Path, *arguments: str) -> str:
    return _run(repository, *arguments).decode().strip()


def _run(repository: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise CommitError("git is not installed")
    done = subprocess.run([git, *arguments], cwd=repository, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise CommitError(done.stderr.decode().strip() or f"git {arguments[0]} found nothing")
    return done.stdout
