"""Notes of where lakes begin, and the setting that reads them."""

from datetime import date
from pathlib import Path

import pytest

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.settings import settings
from orders_lakehouse.start_notes import FILE, note_start, noted_start


def test_note_is_kept_for_each_lake(tmp_path: Path) -> None:
    assert noted_start(tmp_path, "s3://a/lake") is None
    note_start(tmp_path, "s3://a/lake", date(2025, 12, 7))
    note_start(tmp_path, "/b/lake", date(2020, 1, 1))
    note_start(tmp_path, "/b/lake", date(2019, 1, 1))
    assert noted_start(tmp_path, "s3://a/lake") == date(2025, 12, 7)
    assert noted_start(tmp_path, "/b/lake") == date(2019, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["", "[]", '{"/lake": "soon"}', '{"/lake": 5}'])
def test_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ExpectedError, match=r"start_dates\.json cannot be read .* Remove the file"):
        noted_start(tmp_path, "/lake")


@pytest.mark.usefixtures("clean_settings")
def test_start_date_is_given_or_noted_or_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    assert settings().start_date == date(2017, 1, 1)
    note_start(tmp_path, str(tmp_path / "lake"), date(2025, 12, 7))
    assert settings().start_date == date(2025, 12, 7)
    monkeypatch.setenv("LAKEHOUSE_START_DATE", "2023-01-01")
    settings.cache_clear()
    assert settings().start_date == date(2023, 1, 1)
