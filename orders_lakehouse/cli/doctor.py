"""`lakehouse doctor`: find problems of the lakehouse, and the commands that repair them. It changes and starts nothing.

`doctor_areas` has the areas. If an area cannot be examined, this is a finding, and the others are still examined.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

import click
from rich.text import Text

from orders_lakehouse.cli.doctor_areas import AREAS, DEEP_AREAS, Here
from orders_lakehouse.cli.formatting import console, indented, program, show_json
from orders_lakehouse.cli.status import FAILED, MARKS, OK, WARNED
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, WARNING, Examination, Finding, Severity

_MARK = {ERROR: MARKS[FAILED], WARNING: MARKS[WARNED]}
_COMMAND = re.compile(r"\blakehouse (?=[a-z])")


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Read the content of every file of the lake, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(deep: bool, as_json: bool) -> None:
    """Find problems, and name the command that repairs each. Nothing is changed or started.

    Examines the logs of tables against their files, lost versions, the shop and the warehouse with their clocks, disks,
    dead runs, a silent daemon, sensors and checks. Ends with status 1 if a finding is an error; with only warnings, it
    ends with status 0.
    """
    if not doctor(deep=deep, as_json=as_json):
        raise SystemExit(1)


def doctor(*, deep: bool = False, as_json: bool = False) -> bool:
    """Examine every area, and print a summary and findings; return whether no finding is an error.

    Args:
        deep: Read the content of every file of the lake, too.
        as_json: Print one JSON object: `looked_at` (area, said), `findings` (area, severity, what, found, expected,
            to_do, commands), `errors` and `warnings` (their numbers).
    """
    # A short timeout, for a host that does not answer at all.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    areas = {**AREAS, **(DEEP_AREAS if deep else {})}
    here = Here()
    looked = {name: _examined(partial(look, here)) for name, look in areas.items()}
    findings = [(name, finding) for name, of_area in looked.items() for finding in of_area.findings]
    counts = {severity: sum(item.severity == severity for _, item in findings) for severity in (ERROR, WARNING)}
    if as_json:
        show_json(
            {
                "looked_at": [{"area": name, "said": of_area.summary} for name, of_area in looked.items()],
                "findings": [{"area": name, **_as_called(finding)} for name, finding in findings],
                "errors": counts[ERROR],
                "warnings": counts[WARNING],
            }
        )
    else:
        _show(looked, counts)
    return not counts[ERROR]


def _examined(look: Callable[[], Examination]) -> Examination:
    try:
        return look()
    except ExpectedError as error:
        return _not_examined(str(error), "Follow the message.")
    except Exception as error:  # noqa: BLE001 (the other areas are examined after any error)
        to_do = "This error is unknown: report it, with the traceback of another command that raises it."
        return _not_examined(f"{type(error).__name__}: {error}", to_do)


def _not_examined(error: str, to_do: str) -> Examination:
    return Examination("it cannot be examined", [Finding(ERROR, "the examination", error, "an answer", to_do)])


def _as_called(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "commands": [_called(command) for command in finding.commands]}


def _called(command: str) -> str:
    """Return a command as it can be called from the current folder."""
    return _COMMAND.sub(f"{program()} ", command, count=1) if command.startswith("lakehouse ") else command


def _show(looked: Mapping[str, Examination], counts: Mapping[Severity, int]) -> None:
    terminal = console()
    width = max(map(len, looked))
    for name, of_area in looked.items():
        worst = ERROR if any(finding.severity == ERROR for finding in of_area.findings) else WARNING
        terminal.print(
            Text.from_markup(_MARK[worst] if of_area.findings else MARKS[OK]),
            Text(f"{name:<{width}} {of_area.summary}"),
        )
    for name, of_area in looked.items():
        for finding in of_area.findings:
            terminal.print()
            what = finding.what if finding.what.startswith(name) else f"{name}: {finding.what}"
            terminal.print(Text.from_markup(_MARK[finding.severity]), Text(what, style="bold"))
            lines = [f"found: {finding.found}", f"expected: {finding.expected}", finding.to_do]
            terminal.print(indented("\n".join(lines), 4))
            for command in finding.commands:
                # Commands are not wrapped, so that people can copy them.
                terminal.print(Text(f"      {_called(command)}"), soft_wrap=True)
    errors, warnings = counts[ERROR], counts[WARNING]
    terminal.print()
    counted = f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}"
    terminal.print(counted if errors + warnings else "Nothing is wrong.")
