"""What only a bucket can do: encryption, roles, Dagster's logs."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.object_store import bucket_of
from orders_lakehouse.delta.tables import Lake
from tests.support.rows import rows
from tests.support.s3 import ACCESS_KEY, client

pytestmark = pytest.mark.usefixtures("clean_settings")

KEY = "arn:aws:kms:eu-central-1:123456789012:key/0d5f"
ROLE = "arn:aws:iam::123456789012:role/lakehouse"


def objects(endpoint: str, bucket: str) -> dict[str, Any]:
    s3, name = client(endpoint), bucket_of(bucket)
    found = s3.list_objects_v2(Bucket=name).get("Contents", ())
    return {one["Key"]: s3.head_object(Bucket=name, Key=one["Key"]) for one in found}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"AWS_SERVER_SIDE_ENCRYPTION": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {
                "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
                "AWS_SSE_KMS_KEY_ID": KEY,
                "AWS_SSE_BUCKET_KEY_ENABLED": "true",
            },
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY, "BucketKeyEnabled": True},
        ),
    ],
    ids=["none", "AES256", "KMS"],
)
def test_every_object_is_encrypted_as_the_settings_say(
    bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: dict[str, Any]
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    lake = Lake(bucket, "UTC")
    lake.append(DAILY_SALES, rows(DAILY_SALES, {}))
    found = objects(s3_endpoint, bucket)
    assert {Path(name).suffix for name in found} == {".json", ".parquet"}
    names = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
    for head in found.values():
        assert {name: head[name] for name in names if name in head} == expected
    assert rows_of(lake.scan(DAILY_SALES)).height == 1


@pytest.fixture(params=["role of a profile", "web identity"])
def role(request: pytest.FixtureRequest, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket that is reached by a role alone."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    if request.param == "web identity":
        (tmp_path / "token").write_text("a token")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        return bucket
    (tmp_path / "config").write_text(
        f"[profile me]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key=x\n"
        f"[profile lake]\nrole_arn={ROLE}\nsource_profile=me\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lake")
    return bucket


def test_lake_is_reached_by_a_role(role: str) -> None:
    lake = Lake(role, "UTC")
    lake.append(DAILY_SALES, rows(DAILY_SALES, {}))
    assert rows_of(lake.scan(DAILY_SALES)).height == 1
    found = object_store.options(role)
    assert found is not None
    assert found["AWS_SESSION_TOKEN"]
    assert found["AWS_ACCESS_KEY_ID"] != ACCESS_KEY


@dg.op
def speak() -> None:
    print("said by a step")


@dg.job(executor_def=dg.in_process_executor)
def speaking() -> None:
    speak()


def test_step_output_goes_to_a_bucket_with_the_yaml_block(
    bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = resources.files("orders_lakehouse").joinpath("dagster.yaml").read_text()
    (block,) = re.findall(r"^# compute_logs:\n(?:# .*\n)+", text, re.MULTILINE)
    (tmp_path / "dagster.yaml").write_text(text.replace(block, re.sub(r"^# ", "", block, flags=re.MULTILINE)))
    assert "compute_logs" in yaml.safe_load((tmp_path / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("COMPUTE_LOGS_BUCKET", bucket_of(bucket))

    with dg.DagsterInstance.get() as instance:
        assert speaking.execute_in_process(instance=instance).success

    found = [name for name in objects(s3_endpoint, bucket) if name.endswith(".out")]
    assert [name.split("/")[0] for name in found] == ["compute-logs"]
    said = client(s3_endpoint).get_object(Bucket=bucket_of(bucket), Key=found[0])["Body"].read()
    assert b"said by a step" in said
