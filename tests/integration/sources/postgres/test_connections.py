"""Shops that cannot be reached or refuse the reader."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import DatabaseError, DatabaseUnavailableError, connect
from orders_lakehouse.settings import settings
from tests.support.postgres_source import DAY, SECRET, Shop, read

pytestmark = pytest.mark.usefixtures("clean_settings")


class TestConnections:
    @staticmethod
    def _failure(monkeypatch: pytest.MonkeyPatch, url: str) -> ExpectedError:
        monkeypatch.setenv("SHOP_DATABASE_URL", url)
        settings.cache_clear()
        with pytest.raises(ExpectedError) as raised:
            read(RAW_ORDERS, DAY)
        return raised.value

    def test_silent_server_may_be_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = self._failure(monkeypatch, f"postgresql://reader:{SECRET}@127.0.0.1:1/shop")
        assert isinstance(failure, DatabaseUnavailableError)
        assert "the shop database (host=127.0.0.1 port=1 dbname=shop user=reader) cannot be reached" in str(failure)
        assert "Connection refused" in str(failure)
        assert "is SHOP_DATABASE_URL right?" in str(failure)
        assert SECRET not in str(failure)

    def test_missing_socket_may_be_tried_again(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        failure = self._failure(monkeypatch, f"postgresql://reader@/shop?host={quote(str(tmp_path), safe='/')}")
        assert isinstance(failure, DatabaseUnavailableError)

    @pytest.mark.parametrize(
        ("user", "database", "refusal"),
        [
            ("nobody", "postgres", 'role "nobody" does not exist'),
            ("postgres", "nothing", 'database "nothing" does not'),
        ],
    )
    def test_wrong_user_or_database_is_refused_for_good(
        self, monkeypatch: pytest.MonkeyPatch, postgres_server: str, user: str, database: str, refusal: str
    ) -> None:
        url = f"postgresql://{user}:{SECRET}@/{database}?host={quote(postgres_server, safe='/')}"
        failure = self._failure(monkeypatch, url)
        assert isinstance(failure, DatabaseError)
        assert refusal in str(failure)
        assert "Correct SHOP_DATABASE_URL." in str(failure)
        assert SECRET not in str(failure)

    def test_wrong_password_is_refused_for_good(
        self, monkeypatch: pytest.MonkeyPatch, postgres_server: str, guarded_role: str
    ) -> None:
        url = f"postgresql://{guarded_role}:{SECRET}@/postgres?host={quote(postgres_server, safe='/')}"
        failure = self._failure(monkeypatch, url)
        assert isinstance(failure, DatabaseError)
        assert "password authentication failed" in str(failure)
        assert "Correct SHOP_DATABASE_URL." in str(failure)
        assert SECRET not in str(failure)

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://reader@127.0.0.1:1/shop?password={SECRET}",
            f"postgresql://reader:x@127.0.0.1:1/shop?sslpassword={SECRET}",
            f"postgresql://reader:a#{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a/{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a?{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a@{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a%{SECRET}@127.0.0.1:1/shop",
            f"postgresql:/reader:{SECRET}@127.0.0.1:1/shop",
        ],
    )
    def test_no_message_shows_a_password(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        assert SECRET not in str(self._failure(monkeypatch, url))

    def test_url_that_cannot_be_read_is_refused_for_good(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = self._failure(monkeypatch, "postgresql://reader@127.0.0.1:port/shop")
        assert isinstance(failure, DatabaseError)

    @pytest.mark.usefixtures("shop")
    def test_statement_that_fails_is_refused_for_good(self) -> None:
        with pytest.raises(DatabaseError, match=r"refuses a statement: .*no_such_table"), connect("shop") as connection:
            connection.cursor().execute("SELECT * FROM no_such_table")

    def test_cut_connection_may_be_tried_again(self, shop: Shop) -> None:
        def outlive(connection: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (process,) = cursor.fetchone()
                shop.run(f"SELECT pg_terminate_backend({process})")
                cursor.execute("SELECT 1")
                cursor.fetchall()

        with pytest.raises(DatabaseUnavailableError), connect("shop") as connection:
            outlive(connection)

    def test_session_is_in_utc_whatever_the_database_prefers(self, shop: Shop) -> None:
        name = shop.url.split("@/")[1].split("?")[0]
        shop.run(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'")
        with connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('TimeZone')")
            assert cursor.fetchone() == ("UTC",)
        shop.run(f'ALTER DATABASE "{name}" RESET timezone')
