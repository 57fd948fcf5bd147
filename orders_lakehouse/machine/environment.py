"""The environment of each program that the lakehouse starts.

dbt takes every option from a `DBT_` variable, and a Postgres server takes its port from `PGPORT`. So programs get only
the variables that they need, and other variables that happen to be set do not affect them.
"""

import os
from collections.abc import Mapping

# Variables of a user's session: paths, user, language, time zone, certificates.
_SESSION = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP"),
    *("XDG_RUNTIME_DIR", "VIRTUAL_ENV", "NO_COLOR", "COLUMNS", "OPENSSL_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_SESSION_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON")
# Prefixes of libpq's defaults for missing parts of a database URL, and of Kerberos, which libpq may use to log in.
_LIBPQ = ("PG", "KRB5")
DBT = "DBT_"


def for_dbt(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that dbt needs: the session, libpq's defaults and dbt's options.

    `forget_dbt_options` removes accidental options at the beginning of a run; later ones are set by this package or by
    dagster-dbt.
    """
    return _session(variables, (*_LIBPQ, DBT, "DAGSTER_DBT_"))


def for_postgres_server() -> dict[str, str]:
    """Return the variables that programs of the embedded server need: only the session, without libpq and secrets."""
    return _session(os.environ, ())


def for_dagster() -> dict[str, str]:
    """Return the variables for Dagster's UI and daemon: all but dbt's options, because their runs read all settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(DBT)}


def for_psql(connection: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    """Return the variables for psql: those of the user, and the connection.

    Args:
        connection: libpq's variables of the connection.
        alone: Whether the user's own libpq variables are left out.
    """
    own = {name: value for name, value in os.environ.items() if not (alone and name.startswith("PG"))}
    return {**own, **connection}


def forget_dbt_options() -> None:
    """Remove dbt's options from this process's environment, because dagster-dbt reads some and passes all on."""
    for name in [name for name in os.environ if name.startswith(DBT)]:
        del os.environ[name]


def _session(variables: Mapping[str, str], more: tuple[str, ...]) -> dict[str, str]:
    prefixes = (*_SESSION_PREFIXES, *more)
    return {name: value for name, value in variables.items() if name in _SESSION or name.startswith(prefixes)}
