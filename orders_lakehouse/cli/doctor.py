"""`lakehouse doctor`: what is wrong with the lakehouse, and the commands that mend it. It changes and starts nothing.

The areas are in `doctor_areas`. One that cannot be looked at is a finding, and the others are looked at all the same.
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
    """Look for what is wrong, and say which command mends it. Nothing is changed or started.

    Logs of the tables against their files, versions that others remember and that are gone, the shop and the warehouse
    with their clocks, disks, dead runs, a silent daemon, sensors, checks. Ends with status 1 when something found is an
    error; warnings alone end with 0.
    """
    if not doctor(deep=deep, as_json=as_json):
        raise SystemExit(1)


def doctor(*, deep: bool = False, as_json: bool = False) -> bool:
    """Look at every area, and print what is well and what is not; returns whether nothing found is an error.

    Args:
        deep: Read the content of every file of the lake, too.
        as_json: Print one JSON object: `looked_at` (area, said), `findings` (area, severity, what, found, expected,
            to_do, commands), `errors` and `warnings` (how many).
    """
    # A host that does not answer at all is given up soon.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    areas = {**AREAS, **(DEEP_AREAS if deep else {})}
    here = Here()
    looked = {name: _looked(partial(look, here)) for name, look in areas.items()}
    found = [(name, finding) for name, of_area in looked.items() for finding in of_area.findings]
    counts = {severity: sum(one.severity == severity for _, one in found) for severity in (ERROR, WARNING)}
    if as_json:
        show_json(
            {
                "looked_at": [{"area": name, "said": of_area.summary} for name, of_area in looked.items()],
                "findings": [{"area": name, **_as_called(finding)} for name, finding in found],
                "errors": counts[ERROR],
                "warnings": counts[WARNING],
            }
        )
    else:
        _show(looked, counts)
    return not counts[ERROR]


def _looked(look: Callable[[], Examination]) -> Examination:
    try:
        return look()
    except ExpectedError as error:
        return _not_looked_at(str(error), "As it says.")
    except Exception as error:  # noqa: BLE001 (whatever is wrong with it, the others are looked at)
        to_do = "It is not known what to do: report it, with the traceback of another command that meets it."
        return _not_looked_at(f"{type(error).__name__}: {error}", to_do)


def _not_looked_at(error: str, to_do: str) -> Examination:
    return Examination("it cannot be looked at", [Finding(ERROR, "the look itself", error, "an answer", to_do)])


def _as_called(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "commands": [_called(command) for command in finding.commands]}


def _called(command: str) -> str:
    """A command as it can be called from here."""
    return _COMMAND.sub(f"{program()} ", command, count=1) if command.startswith("lakehouse ") else command


def _show(looked: Mapping[str, Examination], counts: Mapping[Severity, int]) -> None:
    terminal = console()
    width = max(map(len, looked))
    for name, of_area in looked.items():
        worst = ERROR if any(one.severity == ERROR for one in of_area.findings) else WARNING
        terminal.print(
            Text.from_markup(_MARK[worst] if of_area.findings else MARKS[OK]),
            Text(f"{name:<{width}} {of_area.summary}"),
        )
    for name, of_area in looked.items():
        for finding in of_area.findings:
            terminal.print()
            what = finding.what if finding.what.startswith(name) else f"{name}: {finding.what}"
            terminal.print(Text.from_markup(_MARK[finding.severity]), Text(what, style="bold"))
            said = [f"found: {finding.found}", f"expected: {finding.expected}", finding.to_do]
            terminal.print(indented("\n".join(said), 4))
            for command in finding.commands:
                # Whole, however wide: it is there to be copied.
                terminal.print(Text(f"      {_called(command)}"), soft_wrap=True)
    errors, warnings = counts[ERROR], counts[WARNING]
    terminal.print()
    counted = f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}"
    terminal.print(counted if errors + warnings else "Nothing is wrong.")
