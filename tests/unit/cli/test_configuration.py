"""The settings as they are shown, and the page that describes them."""

import pytest

from orders_lakehouse.cli import config as configuration
from orders_lakehouse.settings import PROJECT

SECRET = "s3cr3t"


def test_page_of_the_docs_is_the_one_of_the_settings() -> None:
    assert (PROJECT / "docs" / "configuration.md").read_text() == configuration.page(), "run `make docs`"


@pytest.mark.usefixtures("clean_settings")
def test_set_values_are_told_from_defaults_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(
        "SHOP_DATABASE_URL", f"postgresql://reader:{SECRET}@shop.example.com:5433/shop?password={SECRET}"
    )
    monkeypatch.setenv("SPARK_REMOTE", f"sc://spark.example.com:443/;token={SECRET}")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "Europe/Berlin")
    for name in ("LAKEHOUSE_EXECUTOR", "WAREHOUSE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    configuration.show()
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert lines["SHOP_DATABASE_URL"] == ["host=shop.example.com", "port=5433", "dbname=shop", "user=reader"]
    assert lines["WAREHOUSE_DATABASE_URL"] == ["the", "embedded", "server's", "database", "warehouse", "(default)"]
    assert lines["SPARK_REMOTE"] == ["sc://spark.example.com:443"]
    assert lines["LAKEHOUSE_TIMEZONE"] == ["Europe/Berlin"]
    assert lines["LAKEHOUSE_EXECUTOR"] == ["threads", "(default)"]
    assert SECRET not in shown
