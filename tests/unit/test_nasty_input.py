"""Whatever a command or a setting is given, it ends with a status and a sentence, never with a traceback."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orders_lakehouse.cli import main as program
from orders_lakehouse.settings import Settings, settings

VALUES = [
    "",
    " ",
    "\n",
    "\x1b[31mred",
    "\u202e",
    "é✓",
    "\udcff",
    "../../../etc/passwd",
    "~nobody-of-this-name/x",
    "/dev/null/x",
    "a" * 5000,
    "/" + "a" * 300,
    "%s {} [bold] ${x}",
    "'",
    '"; drop table x',
    "-1",
    "0",
    "1e308",
    "inf",
    "-inf",
    "nan",
    "9" * 40,
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2017-02-30",
    "cleansed.orders",
    "order_items",
    "select * from cleansed.orders",
    "postgresql://[::1",
    "s3://",
]
# What makes a command reach the argument that is tried.
VALID = {
    "first": "2017-01-01",
    "last": "2017-01-02",
    "table": "orders",
    "day": "2017-01-01",
    "key": "o1 / 1",
    "folder": "exported",
    "query": "select 1",
    "what": "lake",
    "days": "1",
}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.commands:
        _, command, _ = group.resolve_command(click.Context(group), [name])
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


TRIED = [
    pytest.param(path, command, parameter, id=f"{' '.join(path)} {parameter.name}")
    for path, command in commands(program.cli)
    for parameter in command.params
    if not getattr(parameter, "is_flag", False)
]


def line(command: click.Command, tried: click.Parameter, value: str) -> list[str]:
    """The arguments of a command, of which one has a value that is tried."""
    words: list[str] = []
    for parameter in command.params:
        given = value if parameter is tried else VALID.get(str(parameter.name), "1")
        if isinstance(parameter, click.Argument):
            words += [given] if parameter.required or parameter is tried else []
        elif parameter is tried or parameter.required:
            words += [f"{parameter.opts[0]}={given}"]
    return words


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home without anything, databases that nobody serves, and no program that takes the place of this one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    for name in ("SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL"):
        monkeypatch.setenv(name, "postgresql://nobody@127.0.0.1:1/nothing")
    for name in ("execv", "execve"):
        monkeypatch.setattr(os, name, lambda *_: sys.exit(0))
    # Both change the whole process.
    monkeypatch.setattr(program, "keep_private", lambda: None)
    settings.cache_clear()
    yield
    settings.cache_clear()


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    settings.cache_clear()
    monkeypatch.setattr(sys, "argv", ["lakehouse", *words])
    with pytest.raises(SystemExit) as exit_:
        program.main()
    return exit_.value.code, capsys.readouterr().err


@pytest.mark.parametrize(("path", "command", "parameter"), TRIED)
def test_meaningless_argument_is_answered_with_a_sentence(
    path: tuple[str, ...],
    command: click.Command,
    parameter: click.Parameter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value in VALUES:
        status, errors = ended(monkeypatch, capsys, *path, *line(command, parameter, value))
        assert status in (0, 1, 2), value
        assert (status == 0) or "Error: " in errors, (value, errors)
        assert "Traceback" not in errors


@pytest.mark.parametrize("name", [str(field.validation_alias) for field in Settings.model_fields.values()])
def test_meaningless_setting_is_answered_with_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in VALUES:
        monkeypatch.setenv(name, value)
        for words in (["url", "lake"], ["config"], ["quarantine", "list"], ["read", "orders"]):
            status, errors = ended(monkeypatch, capsys, *words)
            assert status in (0, 1, 2), value
            assert (status == 0) or errors.startswith("Error: "), (value, errors)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e308"])
@pytest.mark.parametrize("name", ["LAKEHOUSE_MEMORY_GB", "LAKEHOUSE_QUARANTINE_LIMIT", "LAKEHOUSE_REPAIR_DAYS"])
def test_number_beyond_numbers_is_no_setting(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    status, errors = ended(monkeypatch, capsys, "url", "lake")
    assert status == 1
    assert errors.startswith(f"Error: the environment cannot be read:\n  {name}: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backfill", "0001-01-01", "9999-12-31"], "'0001-01-01' is no date of a lake; expected one of the years 1900"),
        (["read", "orders", "--as-of", "0001-01-01T00:00:00+14:00"], "is no instant in UTC; expected one of the years"),
        (["read", "orders", "--as-of", "9999-12-31T23:59:59-14:00"], "is no instant in UTC; expected one of the years"),
    ],
)
def test_dates_at_the_ends_of_time_are_refused_by_name(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, errors = ended(monkeypatch, capsys, *words)
    assert status in (1, 2)
    assert said in errors
