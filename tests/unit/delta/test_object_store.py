"""How a bucket is reached: from the standard names, from profiles, and never with a stale key."""

import json
import sys
from pathlib import Path

import pytest

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.object_store import LakeError, options

pytestmark = pytest.mark.usefixtures("clean_settings")

LAKE = "s3://bucket/prefix/raw/orders"
SECRET = "s3cr3t"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def profiles(monkeypatch: pytest.MonkeyPatch, home: Path, text: str) -> None:
    (home / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))


def told(location: str = LAKE) -> dict[str, str]:
    found = options(location)
    assert found is not None
    return found


@pytest.mark.parametrize("location", ["/srv/lake/raw/orders", "relative"])
def test_directory_needs_nothing(location: str) -> None:
    assert options(location) is None


@pytest.mark.usefixtures("keys")
def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found = told()
    assert found["AWS_ACCESS_KEY_ID"] == "AKID"
    assert found["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert found["AWS_SESSION_TOKEN"] == "token"
    assert "AWS_ENDPOINT_URL" not in found
    assert "AWS_ALLOW_HTTP" not in found


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({}, "us-east-1"),
    ],
)
def test_region_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert told()["AWS_REGION"] == expected


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("given", "endpoint", "http"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000", "true"),
        ({"AWS_ENDPOINT_URL": "https://s3.example.com"}, "https://s3.example.com", "false"),
        (
            {"AWS_ENDPOINT_URL": "https://example.com", "AWS_ENDPOINT_URL_S3": "https://s3.example.com"},
            "https://s3.example.com",
            "false",
        ),
    ],
)
def test_endpoint_may_be_unencrypted_only_where_it_says_so(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], endpoint: str, http: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (told()["AWS_ENDPOINT_URL"], told()["AWS_ALLOW_HTTP"]) == (endpoint, http)


def test_profile_has_keys_region_and_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profiles(
        monkeypatch,
        tmp_path,
        f"[profile lake]\naws_access_key_id=AKIDP\naws_secret_access_key={SECRET}\nregion=eu-south-1\n"
        "endpoint_url=http://127.0.0.1:9\n",
    )
    monkeypatch.setenv("AWS_PROFILE", "lake")
    found = told()
    assert found["AWS_ACCESS_KEY_ID"] == "AKIDP"
    assert found["AWS_REGION"] == "eu-south-1"
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert object_store.identity() == "access key AKIDP (from shared-credentials-file, profile lake)" or (
        object_store.identity() == "access key AKIDP (from config-file, profile lake)"
    )


def test_keys_that_expire_are_renewed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "made"
    script = tmp_path / "issue.py"
    script.write_text(
        "import datetime, json, pathlib\n"
        f"made = pathlib.Path({str(made)!r})\n"
        "made.write_text(made.read_text() + 'x' if made.exists() else 'x')\n"
        "soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': f'AKID{len(made.read_text())}', 'SecretAccessKey': 'x', "
        "'SessionToken': 't', 'Expiration': soon.isoformat()}))\n"
    )
    profiles(monkeypatch, tmp_path, f"[profile issued]\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_PROFILE", "issued")
    first, second = told()["AWS_ACCESS_KEY_ID"], told()["AWS_ACCESS_KEY_ID"]
    assert first != second


def test_missing_credentials_error_says_where_they_belong() -> None:
    with pytest.raises(LakeError, match="found no credentials for S3; expected AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        told()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"AWS_PROFILE": "nobody"}, "nobody"),
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"}, "nowhere"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else None,
)
def test_credentials_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LakeError, match=f"the credentials for S3 cannot be used: .*{said}"):
        told()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"AWS_SERVER_SIDE_ENCRYPTION": "AES256"},
        {
            "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "AWS_SSE_KMS_KEY_ID": "arn:aws:kms:eu-central-1:123456789012:key/a",
            "AWS_SSE_BUCKET_KEY_ENABLED": "true",
        },
    ],
    ids=json.dumps,
)
def test_encryption_is_what_the_settings_say(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    names = ("AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED")
    assert {name: value for name, value in told().items() if name in names} == given


def test_identity_text_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert object_store.identity() == "access key AKID (from env)"
