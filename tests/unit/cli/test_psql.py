"""A connection for psql: in variables, or in arguments what has none; a secret never in arguments."""

import pytest

from orders_lakehouse.cli.psql import connection
from orders_lakehouse.postgres.connections import parse_url

VARIABLES = {"PGHOST": "h1,h2", "PGPORT": "5432,5433", "PGUSER": "u", "PGDATABASE": "d", "PGPASSWORD": "p/w"}


@pytest.mark.parametrize(
    ("more", "variables", "arguments"),
    [
        ("sslmode=verify-full", {**VARIABLES, "PGSSLMODE": "verify-full"}, ""),
        ("sslpassword=secret", VARIABLES, ""),
        ("keepalives_idle=30", {"PGPASSWORD": "p/w"}, "keepalives_idle=30"),
        ("service=one", {"PGPASSWORD": "p/w"}, "service=one"),
    ],
)
def test_connection_is_given_without_secrets_in_arguments(more: str, variables: dict[str, str], arguments: str) -> None:
    found, named = connection(parse_url(f"postgresql://u:p%2Fw@h1:5432,h2:5433/d?{more}") or {})
    assert found == variables
    assert bool(named) is bool(arguments)
    assert arguments in " ".join(named)
    assert "p/w" not in " ".join(named)
