"""What programs that the lakehouse starts are given of the environment."""

import os
from collections.abc import Mapping

import pytest

from orders_lakehouse.machine import environment

SECRETS = {"SHOP_DATABASE_URL": "x", "AWS_SECRET_ACCESS_KEY": "x", "SPARK_REMOTE": "x", "LAKEHOUSE_HOME": "x"}
LIBPQ = {"PGHOST": "x", "PGPASSFILE": "x", "PGSSLMODE": "x"}
SESSION = {"PATH": "x", "HOME": "x", "LC_ALL": "x", "TZ": "x", "TMPDIR": "x", "PYTHONPATH": "x"}
# pytest writes one of its own while a test runs.
PYTEST = "PYTEST_CURRENT_TEST"
DBT = {"DBT_EMPTY": "1", "DBT_TARGET": "redshift"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {**SECRETS, **LIBPQ, **SESSION, **DBT}.items():
        monkeypatch.setenv(name, value)


def given(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name != PYTEST}


def test_dbt_gets_session_and_libpq_but_no_other_secrets() -> None:
    assert environment.for_dbt(os.environ) == {**SESSION, **LIBPQ, **DBT}


def test_server_gets_the_session_alone() -> None:
    assert environment.for_postgres_server() == SESSION


def test_dagster_gets_all_but_the_options_of_dbt() -> None:
    assert given(environment.for_dagster()) == {**SECRETS, **LIBPQ, **SESSION}


def test_psql_gets_the_connection_over_own_variables() -> None:
    connection = {"PGHOST": "here"}
    found = given(environment.for_psql(connection, alone=False))
    assert found == {**SECRETS, **LIBPQ, **SESSION, **DBT, **connection}
    found = given(environment.for_psql(connection, alone=True))
    assert found == {**SECRETS, **SESSION, **DBT, **connection}


def test_run_forgets_the_options_of_dbt() -> None:
    environment.forget_dbt_options()
    assert given(os.environ) == {**SECRETS, **LIBPQ, **SESSION}
