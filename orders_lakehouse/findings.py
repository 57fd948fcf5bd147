"""What `lakehouse doctor` finds: what was looked at, what is wrong with it, and what mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
ERROR: Severity = "error"
WARNING: Severity = "warning"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may become so.

    Attributes:
        severity: An error is wrong already; a warning may become so, or is for people to judge.
        what: What was looked at.
        found: What was found of it.
        expected: What was expected instead.
        to_do: What mends it, in words.
        commands: The same as commands, in order; they begin with `lakehouse` where they are commands of it.
    """

    severity: Severity
    what: str
    found: str
    expected: str
    to_do: str
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Looked:
    """What came of a look.

    Attributes:
        said: What was looked at, and how it is, in a line.
        findings: What is wrong with it.
    """

    said: str
    findings: Sequence[Finding] = ()
