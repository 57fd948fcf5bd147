"""Find the two sides of a comparison in git."""

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
    """The two sides of a comparison.

    Attributes:
        base: Commit where the change began, its whole hash.
        change: Commit of the change; for uncommitted changes, a commit on no branch.
        label: Name of the change for people.
        changed: Files that differ, relative to the repository.
        untracked: Files that are unknown to git and left out.
    """

    base: str
    change: str
    label: str
    changed: tuple[str, ...]
    untracked: tuple[str, ...]


def sides(repository: Path, base: str) -> Sides:
    """Find where the change began; the change is the working tree with all files that git knows.

    Args:
        repository: Its root.
        base: Branch or commit that the change will be merged into.

    Raises:
        CommitError: `base` cannot be found, or shares no history with the checkout.
    """
    try:
        began = _git(repository, "merge-base", base, "HEAD")
    except CommitError as error:
        raise CommitError(
            f"found no common history of {base!r} and the checkout ({error}); expected a branch or commit at which the "
            "change began. Name one with BASE=..., and fetch it first: in CI, with its whole history."
        ) from None
    # A stash commit holds uncommitted changes, with any author; without such changes git prints nothing.
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
    """Extract the files of a commit into a folder."""
    packed = io.BytesIO(_run(repository, "archive", commit))
    with tarfile.open(fileobj=packed) as files:
        files.extractall(folder, filter="data")


def _git(repository: Path, *arguments: str) -> str:
    return _run(repository, *arguments).decode().strip()


def _run(repository: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise CommitError("git is not installed")
    result = subprocess.run([git, *arguments], cwd=repository, capture_output=True, check=False)  # noqa: S603
    if result.returncode:
        raise CommitError(result.stderr.decode().strip() or f"git {arguments[0]} found nothing")
    return result.stdout
