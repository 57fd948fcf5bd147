"""A shop without rows, and a role with a password."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from adbc_driver_postgresql import dbapi

from tests.support.postgres_source import SCHEMA, Shop


@pytest.fixture(scope="module")
def database(postgres_url_factory: Callable[[str], str]) -> str:
    return postgres_url_factory("source")


@pytest.fixture
def shop(database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a shop of the right schema without rows."""
    monkeypatch.setenv("SHOP_DATABASE_URL", database)
    made = Shop(database)
    made.run(f"DROP SCHEMA IF EXISTS shop CASCADE; DROP TYPE IF EXISTS mood; {SCHEMA}")
    return made


@pytest.fixture
def guarded_role(postgres_server: str) -> str:
    """Return a role that needs its password; the server trusts every other role."""
    name = "guarded"
    url = f"postgresql://postgres@/postgres?host={quote(postgres_server, safe='/')}"
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hba_file')")
        (file,) = cursor.fetchone()
        cursor.execute(f"SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")
        if cursor.fetchone() == (0,):
            cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        rules = Path(file)
        line = f"local all {name} scram-sha-256\n"
        if line not in rules.read_text():
            rules.write_text(line + rules.read_text())
        cursor.execute("SELECT pg_reload_conf()")
        cursor.fetchall()
        for _ in range(100):
            cursor.execute(f"SELECT count(*) FROM pg_hba_file_rules WHERE user_name = '{{{name}}}'")
            if cursor.fetchone() == (1,):
                break
            time.sleep(0.02)
    time.sleep(0.1)
    return name
