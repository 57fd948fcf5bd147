"""`lakehouse quarantine`: rejected rows, their reasons, and how to correct them. Each command is a module.

`selection` has the options that select rows; `reasons` explains the reasons.
"""

import click

from orders_lakehouse.cli.lazy_group import LazyGroup

# Name of each command to the first sentence of its help.
_COMMANDS = {
    "export": "Write rows in quarantine to files in FOLDER, one for each table, for the people who correct them.",
    "list": "Show rows in quarantine by table and reason, and the waivers.",
    "replay": "Derive the dates of rows in quarantine again, after a contract or a waiver has changed.",
    "show": "Show one row: why it was rejected, its values, where it is in the shop, its versions, and what to do.",
}


@click.group("quarantine", cls=LazyGroup, package=__name__, table=_COMMANDS)
def command() -> None:
    """Rows that break a rule: what is wrong with them, where they come from, and how they leave.

    See docs/quarantine.md.
    """
