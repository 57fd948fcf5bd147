"""Findings of `lakehouse doctor`: what was examined, what is wrong with it, and how to repair it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
ERROR: Severity = "error"
WARNING: Severity = "warning"


@dataclass(frozen=True)
class Finding:
    """A problem, or something that may become one.

    Attributes:
        severity: An error is a problem already; a warning may become one, or people must judge it.
        what: The examined thing.
        found: Its state.
        expected: The state that was expected.
        to_do: The repair, in words.
        commands: The repair as shell commands, in order.
    """

    severity: Severity
    what: str
    found: str
    expected: str
    to_do: str
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Examination:
    """The outcome of an examination.

    Attributes:
        summary: The examined thing and its state, in one line.
        findings: Its problems.
    """

    summary: str
    findings: Sequence[Finding] = ()
