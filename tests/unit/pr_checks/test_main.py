"""How `python -m pr_checks` ends."""

import fcntl
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Timer

import click
import pytest

from orders_lakehouse.errors import ExpectedError
from pr_checks import __main__ as program
from pr_checks.commits import Sides
from pr_checks.report import Findings
from tests.support.findings import NOTHING

End = Callable[..., int]


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    """Call the program, with a comparison that finds or raises something; its status."""
    monkeypatch.setattr(program, "sides", lambda *_: Sides("b", "c", "c", (), ()))

    def call(found: Findings | BaseException = NOTHING, *arguments: str) -> int:
        def compare(*_: object) -> Findings:
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr(program, "_compare", compare)
        places = ["--home", str(tmp_path / "home"), "--report", str(tmp_path / "reports" / "report.md")]
        monkeypatch.setattr(sys, "argv", ["pr_checks", *places, *arguments])
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return call


@pytest.mark.parametrize(
    ("found", "status"),
    [(NOTHING, 0), (replace(NOTHING, breaks=["a break"]), 1), (replace(NOTHING, errors={"facts": "failed"}), 1)],
)
def test_verdict_is_reported_and_is_the_status(
    end: End, tmp_path: Path, capsys: pytest.CaptureFixture[str], found: Findings, status: int
) -> None:
    assert end(found) == status
    assert (tmp_path / "reports" / "report.md").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ExpectedError("no base"), "Error: no base\n"),
        (KeyError("column"), "Traceback (most recent call last):"),
        (KeyboardInterrupt(), "Traceback (most recent call last):"),
        (click.ClickException("odd"), "Error: odd\n"),
    ],
)
def test_outcome_without_verdict_has_its_own_status(
    end: End, tmp_path: Path, capsys: pytest.CaptureFixture[str], raised: BaseException, said: str
) -> None:
    assert end(raised) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_unknown_option_is_no_verdict_and_help_no_failure(end: End) -> None:
    assert end(NOTHING, "--nonsense") == 2
    assert end(NOTHING, "--help") == 0


def test_two_calls_in_one_folder_wait_for_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "pr_checks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        with program._alone(tmp_path):
            assert f"Another call works in {tmp_path}; waiting for it ..." in capsys.readouterr().out
    with program._alone(tmp_path):
        assert capsys.readouterr().out == ""
