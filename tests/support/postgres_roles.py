"""Roles of the server that tests share."""

from pathlib import Path
from urllib.parse import quote


def let_every_role_in(home: Path, socket_directory: str) -> None:
    """Let the user who runs the tests connect as every role."""
    from adbc_driver_postgresql import dbapi

    from orders_lakehouse.postgres.server_folders import data_directory

    users = data_directory(home) / "pg_ident.conf"
    lines = users.read_text().splitlines()
    users.write_text("\n".join([*lines, *(f"{line.rpartition(' ')[0]} all" for line in lines), ""]))
    url = f"postgresql://postgres@/postgres?host={quote(socket_directory, safe='/')}"
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_reload_conf()")
        cursor.fetchall()
