"""What programs that the lakehouse starts are given of the environment."""

import os

import pytest

from orders_lakehouse import environment

SECRETS = {"SHOP_DATABASE_URL": "x", "AWS_SECRET_ACCESS_KEY": "x", "SPARK_REMOTE": "x", "LAKEHOUSE_HOME": "x"}
LIBPQ = {"PGHOST": "x", "PGPASSFILE": "x", "PGSSLMODE": "x"}
SESSION = {"PATH": "x", "HOME": "x", "LC_ALL": "x", "TZ": "x", "TMPDIR": "x", "PYTHONPATH": "x"}
DBT = {"DBT_EMPTY": "1", "DBT_TARGET": "redshift"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**SECRETS, **LIBPQ, **SESSION, **DBT})


def test_dbt_gets_the_session_and_libpq_and_nobody_elses_secrets() -> None:
    assert environment.for_dbt(os.environ) == {**SESSION, **LIBPQ, **DBT}


def test_a_server_gets_the_session_alone() -> None:
    assert environment.for_postgres_server() == SESSION


def test_dagster_gets_all_but_the_options_of_dbt() -> None:
    assert environment.for_dagster() == {**SECRETS, **LIBPQ, **SESSION}


def test_psql_gets_the_connection_beside_the_persons_own_variables_or_in_their_place() -> None:
    connection = {"PGHOST": "here"}
    assert environment.for_psql(connection, alone=False) == {**SECRETS, **LIBPQ, **SESSION, **DBT, "PGHOST": "here"}
    assert environment.for_psql(connection, alone=True) == {**SECRETS, **SESSION, **DBT, "PGHOST": "here"}


def test_a_run_forgets_the_options_of_dbt() -> None:
    environment.forget_dbt_options()
    assert dict(os.environ) == {**SECRETS, **LIBPQ, **SESSION}
