"""The `lakehouse` command: a module, or a package, for each command, named as the command is.

Besides: `main` (the table of commands), and what several commands share, such as `formatting`, `parameters` and `runs`.
"""
