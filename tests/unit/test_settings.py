"""The environment: defaults, what is refused and how, and that no message ever shows a password."""

import os
from datetime import date
from pathlib import Path

import pytest

from orders_lakehouse.settings import PROJECT, Settings, SettingsError, settings

SECRET = "s3cr3t"


pytestmark = pytest.mark.usefixtures("clean_settings")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a person's .env says anything."""
    local = ("LAKEHOUSE_HOME", "LAKEHOUSE_WAIVERS", "LAKE_URL", "DAGSTER_HOME")
    for name in (*local, "SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def _refused(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        settings()
    # Nothing that a traceback would print along with it.
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    return str(raised.value)


def test_everything_has_a_default() -> None:
    found = settings()
    assert found.home == PROJECT / ".lakehouse"
    assert found.lake_url == str(PROJECT / ".lakehouse" / "lake")
    assert found.dagster_home == PROJECT / ".lakehouse" / "dagster"
    assert found.shop_database_url is None
    assert found.warehouse_database_url is None
    assert found.start_date_given is None
    assert found.timezone == "UTC"
    assert found.holidays_country == "US"
    assert found.waivers == PROJECT / "waivers.toml"
    assert found.engine == "polars"
    assert found.executor == "threads"
    assert found.keep_runs == 500
    assert found.dbt_artifacts == "failed"
    assert found.reconcile_applies
    assert found.gone_limit == 0.05


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_every_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://reader:x@shop.example.com:5433/shop?sslmode=require")
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", "postgres://dbt@/warehouse?host=/run/postgres")
    monkeypatch.setenv("LAKEHOUSE_START_DATE", "2023-02-28")
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("LAKEHOUSE_HOLIDAYS_COUNTRY", "de")
    monkeypatch.setenv("LAKEHOUSE_EXECUTOR", "multiprocess")
    monkeypatch.setenv("LAKEHOUSE_WAIVERS", str(tmp_path / "ours.toml"))
    monkeypatch.setenv("LAKEHOUSE_RECONCILE_APPLIES", "false")
    monkeypatch.setenv("LAKEHOUSE_GONE_LIMIT", "0.2")
    found = settings()
    assert found.lake_url == str(tmp_path / "lake")
    assert found.dagster_home == tmp_path / "dagster"
    assert found.shop_database_url == "postgresql://reader:x@shop.example.com:5433/shop?sslmode=require"
    assert found.warehouse_database_url == "postgres://dbt@/warehouse?host=/run/postgres"
    assert found.start_date == date(2023, 2, 28)
    assert found.timezone == "Europe/Berlin"
    assert found.holidays_country == "DE"
    assert found.executor == "multiprocess"
    assert found.waivers == tmp_path / "ours.toml"
    assert not found.reconcile_applies
    assert found.gone_limit == 0.2


def test_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOP_DATABASE_URL", "LAKE_URL", "LAKEHOUSE_TIMEZONE", "LAKEHOUSE_START_DATE", "LAKEHOUSE_HOME"):
        monkeypatch.setenv(name, "")
    assert settings() == Settings.model_validate({})


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "Asia/Tokyo")
    assert settings() is before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("s3://bucket", "s3://bucket"),
        ("/srv/lake/", "/srv/lake"),
        ("/srv/../lake", "/lake"),
    ],
)
def test_root_of_the_lake_has_no_trailing_slash(monkeypatch: pytest.MonkeyPatch, given: str, expected: str) -> None:
    monkeypatch.setenv("LAKE_URL", given)
    assert settings().lake_url == expected


def test_directories_are_absolute_wherever_the_process_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_HOME", "~/house")
    monkeypatch.setenv("LAKE_URL", "lake")
    assert settings().home == tmp_path / "house"
    assert settings().lake_url == str(tmp_path / "lake")


@pytest.mark.parametrize("zone", ["Berlin", "Europe/Berlim", "+01:00", "../etc/passwd", "/etc/localtime"])
def test_time_zone_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    message = _refused(monkeypatch, LAKEHOUSE_TIMEZONE=zone)
    assert "LAKEHOUSE_TIMEZONE" in message
    assert repr(zone) in message
    assert "expected a name such as 'Europe/Berlin'" in message


@pytest.mark.parametrize("zone", ["Europe", "America/Argentina"])
def test_part_of_a_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    assert "expected a name such as 'Europe/Berlin'" in _refused(monkeypatch, LAKEHOUSE_TIMEZONE=zone)


@pytest.mark.parametrize("zone", ["Factory", "localtime", "right/Europe/Berlin"])
def test_ambiguous_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    assert "LAKEHOUSE_TIMEZONE" in _refused(monkeypatch, LAKEHOUSE_TIMEZONE=zone)


@pytest.mark.parametrize("text", ["2017-02-29", "yesterday", "01.02.2017", "20170101x", "2017-01-01T10:00:00"])
def test_start_date_that_is_no_date_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    message = _refused(monkeypatch, LAKEHOUSE_START_DATE=text)
    assert "LAKEHOUSE_START_DATE" in message
    assert text in message


@pytest.mark.parametrize(("text", "fits"), [("1900-12-31", False), ("0001-01-01", False), ("1901-01-01", True)])
def test_first_partition_lies_after_the_beginning_of_history(
    monkeypatch: pytest.MonkeyPatch, text: str, fits: bool
) -> None:
    if fits:
        monkeypatch.setenv("LAKEHOUSE_START_DATE", text)
        assert settings().start_date == date.fromisoformat(text)
        return
    message = _refused(monkeypatch, LAKEHOUSE_START_DATE=text)
    assert "LAKEHOUSE_START_DATE" in message
    assert "expected a date after 1900" in message


@pytest.mark.parametrize("name", ["LAKEHOUSE_TIME_ZONE", "LAKEHOUSE_ENGIN", "LAKEHOUSE_"])
def test_unknown_setting_is_refused_with_known_ones(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    message = _refused(monkeypatch, **{name: SECRET})
    assert f"unknown setting {name};" in message
    for known in ("LAKEHOUSE_HOME", "LAKEHOUSE_START_DATE", "LAKEHOUSE_TIMEZONE", "LAKEHOUSE_ENGINE"):
        assert known in message.split(";")[1]
    assert SECRET not in message


def test_foreign_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_TIMEZONE", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    settings()


@pytest.mark.parametrize("name", ["LAKEHOUSE_ENGINE", "LAKEHOUSE_EXECUTOR"])
def test_unknown_choice_is_refused_with_known_ones(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    message = _refused(monkeypatch, **{name: "abacus"})
    assert name in message
    assert "'abacus'" in message
    assert {
        "LAKEHOUSE_ENGINE": "'polars' or 'spark'",
        "LAKEHOUSE_EXECUTOR": "'threads', 'in_process' or 'multiprocess'",
    }[name] in message


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(
        monkeypatch, LAKEHOUSE_TIMEZONE="nowhere", LAKEHOUSE_START_DATE="never", SHOP_DATABASE_URL="mysql://x"
    )
    for name in ("LAKEHOUSE_TIMEZONE", "LAKEHOUSE_START_DATE", "SHOP_DATABASE_URL"):
        assert name in message


_WRONG_URLS = [
    f"mysql://user:{SECRET}@host/db",
    f"user:{SECRET}@host/db",
    f"host=localhost password={SECRET}",
    f"jdbc:postgresql://user:{SECRET}@host/db",
    f"postgresql://user:{SECRET}@[host/db",
    f" postgresql//user:{SECRET}@host/db",
]


@pytest.mark.parametrize("variable", ["SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL"])
@pytest.mark.parametrize("url", _WRONG_URLS)
def test_url_not_of_postgres_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    message = _refused(monkeypatch, **{variable: url})
    assert variable in message
    assert SECRET not in message


def test_refused_url_says_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(monkeypatch, SHOP_DATABASE_URL="mysql://host/db")
    assert "expected postgresql://user:password@host:port/database" in message


def test_url_with_unreadable_host_is_refused_without_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SECRET not in _refused(monkeypatch, SHOP_DATABASE_URL=f"postgresql://user:{SECRET}\u2100@host/db")


def test_settings_do_not_show_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", f"postgresql://user:{SECRET}@host/db")
    assert SECRET not in repr(settings())


def test_dotenv_file_counts_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("LAKEHOUSE_TIMEZONE=Europe/Berlin\nLAKEHOUSE_START_DATE=2020-01-01\nAWS_REGION=eu-central-1\n")
    # What is put into the environment is taken out of it again.
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setitem(Settings.model_config, "env_file", dotenv)
    monkeypatch.setenv("LAKEHOUSE_START_DATE", "2021-01-01")
    assert settings().timezone == "Europe/Berlin"
    assert settings().start_date == date(2021, 1, 1)


def test_unknown_setting_in_a_dotenv_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("LAKEHOUSE_TIME_ZONE=Europe/Berlin\n")
    monkeypatch.setitem(Settings.model_config, "env_file", dotenv)
    with pytest.raises(SettingsError, match="LAKEHOUSE_TIME_ZONE"):
        settings()


@pytest.mark.parametrize("line", [line for line in (PROJECT / ".env.example").read_text().splitlines() if "=" in line])
def test_every_line_of_the_example_is_a_setting(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    name, value = line.lstrip("# ").split("=", 1)
    standard = {"AWS_REGION", "AWS_PROFILE"}
    assert name in {str(field.validation_alias) for field in Settings.model_fields.values()} | standard
    monkeypatch.setenv(name, value)
    settings()


@pytest.mark.parametrize("home", ["/srv/my lake", "/srv/größer", "/srv/a,b"])
def test_path_that_delta_escapes_is_refused(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    message = _refused(monkeypatch, LAKEHOUSE_HOME=home)
    assert home in message
    assert "set LAKE_URL or LAKEHOUSE_HOME" in message


@pytest.mark.parametrize(
    ("deployment", "is_branch", "expected"),
    [
        (None, None, "s3://bucket/lake"),
        ("prod", "", "s3://bucket/lake"),
        ("prod", "0", "s3://bucket/lake"),
        ("5b0c8f", "1", "s3://bucket/lake/branches/5b0c8f"),
    ],
)
def test_branch_deployment_has_a_lake_of_its_own(
    monkeypatch: pytest.MonkeyPatch, deployment: str | None, is_branch: str | None, expected: str
) -> None:
    told = {"DAGSTER_CLOUD_DEPLOYMENT_NAME": deployment, "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": is_branch}
    for name, value in told.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAKE_URL", "s3://bucket/lake")
    assert settings().lake_url == expected


@pytest.mark.parametrize("name", ["Orders", "orders-prod", "orders/*", "a" * 256])
def test_name_unsafe_for_glue_or_athena_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    message = _refused(monkeypatch, LAKEHOUSE_GLUE_DATABASE=name)
    assert "LAKEHOUSE_GLUE_DATABASE: " in message
    assert "expected lower-case letters, digits and underscores" in message
    assert repr(name) in message


@pytest.mark.parametrize(
    "remote",
    [
        *("", "local[*]", "http://spark:15002", "sc://", "sc:///;token=s3cr3t", "sc:// spark"),
        *("sc://spark:15002;token=s3cr3t", "sc://me:s3cr3t@spark:15002", "sc://spark:15002?token=s3cr3t"),
    ],
)
def test_engine_that_cannot_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch, remote: str) -> None:
    message = _refused(monkeypatch, LAKEHOUSE_ENGINE="spark", SPARK_REMOTE=remote)
    assert "expected the URL of a Spark Connect endpoint, sc://host:port" in message
    assert SECRET not in message
    # With another engine it is not read, and may be shown.
    monkeypatch.setenv("LAKEHOUSE_ENGINE", "polars")
    assert SECRET not in settings().spark_endpoint


@pytest.mark.parametrize("remote", ["sc://spark:15002", "sc://spark.example.com:443/;token=s3cr3t;user_id=me"])
def test_endpoint_is_kept_with_what_it_asks_for(monkeypatch: pytest.MonkeyPatch, remote: str) -> None:
    monkeypatch.setenv("LAKEHOUSE_ENGINE", "spark")
    monkeypatch.setenv("SPARK_REMOTE", remote)
    assert settings().spark_remote == remote
    assert SECRET not in repr(settings())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", "postgresql://h/d?service=loader%20one"),
        ("postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=require&service=loader%20one"),
        ("postgresql://h/d?service=own", "postgresql://h/d?service=own"),
    ],
)
def test_service_means_the_configured_databases(monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", url)
    monkeypatch.setenv("PGSERVICE", "loader one")
    found = settings()
    assert (found.warehouse_database_url, found.shop_database_url) == (expected, None)
    # Processes that this one starts read the same; no connection to the embedded server looks for the service.
    assert os.environ["WAREHOUSE_DATABASE_URL"] == expected
    assert "PGSERVICE" not in os.environ


def test_keys_in_the_url_of_the_lake_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(monkeypatch, LAKE_URL=f"s3a://key:{SECRET}@bucket/prefix")
    assert SECRET not in message
    assert "s3a://***@bucket/prefix" in message
