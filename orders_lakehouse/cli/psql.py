"""`lakehouse psql`: open psql with the connection in the environment instead of the arguments."""

import os
import shutil
from collections.abc import Mapping, Sequence

import click
from psycopg2.extensions import make_dsn

from orders_lakehouse.machine import environment
from orders_lakehouse.postgres.connections import Database, DatabaseError, is_embedded, parts_of
from orders_lakehouse.postgres.server_folders import server_program

# libpq's variable for each part of a connection that has one.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "client_encoding": "PGCLIENTENCODING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "channel_binding": "PGCHANNELBINDING",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslcertmode": "PGSSLCERTMODE",
    "sslsni": "PGSSLSNI",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
}
# Parts that no argument may have. The passphrase of a client's key has no variable, so psql asks for it.
_SECRET = ("password", "sslpassword")


@click.command("psql", context_settings={"ignore_unknown_options": True})
@click.argument("database", type=click.Choice(["shop", "warehouse"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PSQL ARGUMENTS]")
def command(database: str, arguments: tuple[str, ...]) -> None:
    """Open psql in the shop or the warehouse; no command line shows the password.

    \b
    lakehouse psql warehouse
    lakehouse psql warehouse -- -c "select count(*) from marts.fct_orders"

    An embedded server is started. Its own psql is used if none is installed.
    """  # noqa: D301 (the escape tells click to keep the lines)
    psql("shop" if database == "shop" else "warehouse", arguments)


def psql(database: Database, arguments: Sequence[str]) -> None:
    """Replace this process by psql.

    Args:
        database: Database to open.
        arguments: Arguments of psql.

    Raises:
        DatabaseError: psql is not installed, or the database's URL cannot be read.
    """
    parts = parts_of(database)
    program = shutil.which("psql") or server_program("psql")
    if program is None:
        raise DatabaseError(
            "psql is not installed; install Postgres' client, on Debian: apt-get install postgresql-client"
        )
    alone = is_embedded(database)
    if alone:
        parts = {name: value for name, value in parts.items() if name in ("host", "port", "dbname", "user")}
    connection_variables, connection_arguments = connection(parts)
    variables = environment.for_psql(connection_variables, alone=alone)
    os.execve(program, [program, *connection_arguments, *arguments], variables)  # noqa: S606 (found on the PATH)


def connection(parts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return a connection as libpq's variables, and as arguments of psql for parts without a variable.

    Args:
        parts: Parts of the connection, as libpq names them; secrets are never in arguments.
    """
    open_parts = {name: value for name, value in parts.items() if name not in _SECRET}
    password = {"PGPASSWORD": parts["password"]} if parts.get("password") else {}
    if set(open_parts) <= set(_VARIABLES):
        return {_VARIABLES[name]: value for name, value in open_parts.items()} | password, []
    # A service overrides variables but not arguments, so all parts become arguments.
    return password, ["--dbname", make_dsn(**open_parts)]
