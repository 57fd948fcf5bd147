"""The environment of each program that the lakehouse starts: what it needs, and what it is told on purpose.

dbt takes every option from a `DBT_` variable, and a Postgres server its port from `PGPORT`. So nothing else
that happens to be set has an effect on them.
"""

import os
from collections.abc import Mapping

# A user's session: where programs and files are, whose they are, language, time zone, what encrypts connections.
_SESSION = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP"),
    *("XDG_RUNTIME_DIR", "VIRTUAL_ENV", "NO_COLOR", "COLUMNS", "OPENSSL_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_SESSION_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON")
# libpq's defaults for the parts that a database URL leaves open, and Kerberos', by which it may log in.
_LIBPQ = ("PG", "KRB5")
DBT = "DBT_"


def for_dbt(found: Mapping[str, str]) -> dict[str, str]:
    """Return what dbt needs of an environment: the session, libpq's defaults and dbt's options.

    Options by accident are taken out at the beginning of a run (`forget_dbt_options`); later ones are ours or
    dagster-dbt's.
    """
    return _session(found, (*_LIBPQ, DBT, "DAGSTER_DBT_"))


def for_postgres_server() -> dict[str, str]:
    """Return what the embedded server's programs need: the session, and nothing of libpq or of a secret."""
    return _session(os.environ, ())


def for_dagster() -> dict[str, str]:
    """Return what Dagster's UI and daemon need: all but dbt's options. They start runs, which read every setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith(DBT)}


def for_psql(connection: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Return what psql needs: all that the user has set, and the connection.

    Args:
        connection: libpq's variables of the connection.
        alone: Whether the user's own libpq variables are left out.
    """
    found = {name: value for name, value in os.environ.items() if not (alone and name.startswith("PG"))}
    return {**found, **connection}


def forget_dbt_options() -> None:
    """Take dbt's options out of this process's environment: dagster-dbt reads some, and hands on all."""
    for name in [name for name in os.environ if name.startswith(DBT)]:
        del os.environ[name]


def _session(found: Mapping[str, str], more: tuple[str, ...]) -> dict[str, str]:
    prefixes = (*_SESSION_PREFIXES, *more)
    return {name: value for name, value in found.items() if name in _SESSION or name.startswith(prefixes)}
