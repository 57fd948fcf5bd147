"""A Postgres server behind TLS on a free port, with certificates of authorities that are made for it.

The embedded server is built without TLS, so something in front of it speaks it, as a connection pooler does.
"""

import asyncio
import os
import shutil
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlencode

from adbc_driver_postgresql import dbapi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orders_lakehouse.machine import environment
from orders_lakehouse.postgres.server_folders import server_program

PASSWORD = "pass-w0rd/of:loader"
# The server takes connections with and without TLS, so the client has to insist on it.
_HBA = """
local all postgres,by_certificate trust
local all all scram-sha-256
"""
# Requests by which a client asks for TLS or GSSAPI before it names itself.
_TLS_REQUEST, _GSS_REQUEST = (struct.pack("!II", 8, code) for code in (80877103, 80877104))
_ROLES = f"""
CREATE ROLE loader LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE by_certificate LOGIN;
CREATE ROLE alone LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1;
CREATE ROLE hurried LOGIN PASSWORD '{PASSWORD}';
ALTER ROLE hurried SET statement_timeout = '200ms';
CREATE DATABASE warehouse OWNER loader;
CREATE DATABASE shop OWNER loader;
"""


class Authority:
    """A certificate authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(self._sign(name, self._key, 365, is_authority=True))

    def issue(self, subject: str, days: int = 365) -> tuple[Path, Path]:
        """Write a certificate and its key, valid for the given number of days; a negative one has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = [self.folder / f"{self.name}-{subject}-{days}.{end}" for end in ("crt", "key")]
        paths[0].write_bytes(self._sign(subject, key, days, is_authority=False))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        paths[1].chmod(0o600)
        return paths[0], paths[1]

    def _sign(self, subject: str, key: ec.EllipticCurvePrivateKey, days: int, *, is_authority: bool) -> bytes:
        now = datetime.now(UTC)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, self.name)]
        made = (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if subject == "localhost":
            addresses = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            made = made.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class Server:
    """A server under test.

    Attributes:
        folder: In which everything of it lies.
        authority: Which has signed its certificate.
        other: Another authority, which has not.
        connections: Whether each connection was encrypted.
    """

    folder: Path
    authority: Authority
    other: Authority
    port: int = 0
    connections: list[bool] = field(default_factory=list)

    def url(self, user: str = "loader", password: str = PASSWORD, database: str = "warehouse", **parts: str) -> str:
        """URL of a database by TCP."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}?{urlencode(parts, quote_via=quote)}"

    def owner_url(self, database: str) -> str:
        """URL of a database for the superuser, by the socket, past TLS."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @property
    def log(self) -> str:
        """Text of the server's log so far."""
        return (self.folder / "data" / "log").read_text()

    def present(self, certificate: tuple[Path, Path], *, client_must_too: bool = False) -> None:
        """Show a certificate from the next connection on, and maybe let in nobody who has none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        context.load_verify_locations(self.authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED if client_must_too else ssl.CERT_NONE
        self._context = context

    def start(self, *options: str) -> None:
        """Start the server."""
        given = " ".join(["-k", str(self.folder), "-h", "''", "-p", "5432", *options])
        self._call("start", "-w", "-l", f"{self.folder}/data/log", "-o", given)

    def restart(self, *options: str) -> None:
        """Stop the server at once, and start it with other options."""
        self._call("stop", "-w", "-m", "immediate")
        self.start(*options)

    def shut_down(self) -> None:
        """Stop the server once its sessions have ended, without new ones."""
        self._call("stop", "-W", "-m", "smart")

    def _call(self, action: str, *arguments: str) -> None:
        _call("pg_ctl", "-D", str(self.folder / "data"), *arguments, action)

    async def listen(self, ready: threading.Event) -> None:
        """Pass on what comes by TCP, decrypted, until it is cancelled."""
        async with await asyncio.start_server(self._pass_on, "127.0.0.1", 0) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            ready.set()
            await listening.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(8)
            while first == _GSS_REQUEST:
                writer.write(b"N")
                first = await reader.readexactly(8)
            self.connections.append(first == _TLS_REQUEST)
            if first == _TLS_REQUEST:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._context)
                first = b""
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(self.folder / ".s.PGSQL.5432"))
            inner_writer.write(first)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            # The client would not have the certificate, or the server is gone: each is told by libpq.
            pass
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while read := await reader.read(65536):
            writer.write(read)
            await writer.drain()
    finally:
        writer.close()


@contextmanager
def tls_server(*options: str) -> Iterator[Server]:
    """Provide a server with these options until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in (folder / "data", folder / "certificates"):
            path.mkdir()
        authorities = [Authority(folder / "certificates", name) for name in ("authority", "other")]
        server = Server(folder, *authorities)
        for path in (folder, folder / "data"):
            # The server runs as another user where root tests.
            if os.geteuid() == 0:
                shutil.chown(path, "embedded_postgres")
        _call("initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync")
        (folder / "data" / "pg_hba.conf").write_text(_HBA)
        server.present(server.authority.issue("localhost"))
        server.start(*options)
        loop, ready = asyncio.new_event_loop(), threading.Event()
        listening = loop.create_task(server.listen(ready))
        threading.Thread(target=loop.run_forever, daemon=True).start()
        try:
            ready.wait()
            url = server.owner_url("postgres")
            with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
                for statement in filter(str.strip, _ROLES.split(";")):
                    cursor.execute(statement)
            yield server
        finally:
            loop.call_soon_threadsafe(listening.cancel)
            server._call("stop", "-w", "-m", "immediate")
            loop.call_soon_threadsafe(loop.stop)


def _call(name: str, *arguments: str) -> None:
    program = server_program(name)
    assert program is not None
    subprocess.run(
        [program, *arguments],
        check=True,
        user="embedded_postgres" if os.geteuid() == 0 else None,
        env=environment.for_postgres_server(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
