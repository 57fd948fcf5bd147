"""A group of commands that imports the module of a command when the command is called.

The group knows the name and one sentence of help of each command, which is enough for a list of commands.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group with a module for each command, named as the command is; its click command is called `command`."""

    def __init__(
        self,
        *,
        package: str,
        table: Mapping[str, str],
        sections: Mapping[str, Sequence[str]] | None = None,
        **attributes: Any,
    ) -> None:
        """Take the commands of a group from a table.

        Args:
            package: Package in which the modules are.
            table: Name of each command to the first sentence of its help.
            sections: Names of the commands under each heading of the help; without it, all are under one heading.
            attributes: Arguments of `click.Group`.
        """
        super().__init__(
            commands=[click.Command(name, help=sentence) for name, sentence in table.items()], **attributes
        )
        self._package = package
        self._sections = sections or {"Commands": sorted(table)}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click passes it)
        """Write the commands under their headings."""
        widest = max(map(len, self.commands))
        for heading, names in self._sections.items():
            with formatter.section(heading):
                # All headings have their sentences in the same column.
                rows = [(name.ljust(widest), self.commands[name].get_short_help_str(limit=200)) for name in names]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command in the arguments, and import it."""
        name, command, left = super().resolve_command(ctx, args)
        if name is not None:
            command = import_module(f"{self._package}.{name.replace('-', '_')}").command
        return name, command, left
