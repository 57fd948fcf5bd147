"""Git in a repository of a test."""

import shutil
import subprocess
from pathlib import Path


def git(repository: Path, *arguments: str) -> str:
    program = shutil.which("git") or "git"
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run([program, *author, *arguments], cwd=repository, check=True, capture_output=True, text=True)
    return done.stdout.strip()
