"""S3 that refuses, is busy, or breaks off."""

import os
from collections.abc import Callable, Iterator

import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError, bucket_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.row_accounting import row_count
from tests.support.s3 import ACCESS_KEY, SECRET, Proxy, Trouble, proxy
from tests.support.two_dates import insert, replace, stored


def data(_method: str, path: str) -> bool:
    return ".parquet" in path


def data_written(method: str, path: str) -> bool:
    return method == "PUT" and ".parquet" in path


def commit(method: str, path: str) -> bool:
    return method == "PUT" and "_delta_log" in path


def log_read(method: str, path: str) -> bool:
    return method == "GET" and path.endswith(".json")


def listing(_method: str, path: str) -> bool:
    return "list-type=2" in path


def once(chosen: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    seen: list[str] = []

    def first(method: str, path: str) -> bool:
        if not seen and chosen(method, path):
            seen.append(path)
            return True
        return False

    return first


@pytest.fixture
def troubled(s3_endpoint: str) -> Iterator[Proxy]:
    with proxy(s3_endpoint) as made:
        yield made


@pytest.fixture
def lake(bucket: str, troubled: Proxy, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a bucket behind the proxy, with a table of two dates; nobody waits for long."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", troubled.url)
    monkeypatch.setattr(object_store, "_REQUEST_SECONDS", 1)
    monkeypatch.setattr(object_store, "_RETRY_SECONDS", 2)
    monkeypatch.setattr(object_store, "_RETRIES", 2)
    made = Lake(f"{bucket}/some/lake", "UTC")
    replace(made, orders=1)
    made.open(RAW_ORDERS)
    return made


BUSY = Trouble()
SILENT = Trouble("hang")
CLOSED = Trouble("drop")
FORBIDDEN = Trouble(status=403, code="AccessDenied", message="Access Denied")


@pytest.mark.parametrize("chosen", [data_written, commit, log_read, listing], ids=lambda chosen: chosen.__name__)
@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (BUSY, r"is unavailable for curated/daily_sales in .*: 503 SlowDown Please reduce your request rate\."),
        (SILENT, r"storage of curated/daily_sales \(127\.0\.0\.1:\d+\) failed: .*(timed out|sending request)"),
        (CLOSED, r"storage of curated/daily_sales \(127\.0\.0\.1:\d+\) failed: .*(connection|sending request)"),
    ],
    ids=["busy", "silent", "closed"],
)
def test_failed_replace_changes_nothing_and_next_run_heals(
    lake: Lake, troubled: Proxy, trouble: Trouble, said: str, chosen: Callable[[str, str], bool]
) -> None:
    troubled.misbehave(trouble, chosen)
    with pytest.raises(StorageUnavailableError, match=said):
        replace(lake, orders=2)
    assert troubled.met
    troubled.behave()
    assert stored(lake) == [1, 1]

    replace(lake, orders=2)
    assert stored(lake) == [2, 2]


@pytest.mark.parametrize("trouble", [BUSY, SILENT, CLOSED, Trouble("break off")], ids=lambda trouble: trouble.misdeed)
def test_failed_read_may_be_tried_again(lake: Lake, troubled: Proxy, trouble: Trouble) -> None:
    troubled.misbehave(trouble, data)
    with pytest.raises(StorageUnavailableError, match="curated/daily_sales"):
        stored(lake)
    assert troubled.met
    troubled.behave()
    assert stored(lake) == [1, 1]


@pytest.mark.parametrize("chosen", [data_written, commit], ids=lambda chosen: chosen.__name__)
def test_failed_insert_inserts_nothing_and_next_one_all(
    lake: Lake, troubled: Proxy, chosen: Callable[[str, str], bool]
) -> None:
    troubled.misbehave(BUSY, chosen)
    with pytest.raises(StorageUnavailableError, match="raw/orders"):
        insert(lake)
    troubled.behave()
    assert row_count(lake, RAW_ORDERS) == 0
    assert insert(lake) == 2


def test_commit_whose_answer_is_lost_counts_once(lake: Lake, troubled: Proxy) -> None:
    troubled.misbehave(Trouble("lose the answer"), once(commit))
    insert(lake)
    assert troubled.met
    assert row_count(lake, RAW_ORDERS) == 2

    troubled.misbehave(Trouble("lose the answer"), once(commit))
    replace(lake, orders=2)
    assert troubled.met
    assert stored(lake) == [2, 2]


def test_short_storage_error_is_retried_silently(lake: Lake, troubled: Proxy) -> None:
    hiccups = [(trouble, chosen) for trouble in (BUSY, CLOSED) for chosen in (data_written, commit, log_read)]
    # Other rows each time: what comes out as it stands is not written.
    for orders, (trouble, chosen) in enumerate(hiccups, 2):
        troubled.misbehave(trouble, once(chosen))
        replace(lake, orders=orders)
        assert troubled.met
        assert stored(lake) == [orders, orders]


@pytest.mark.parametrize(
    ("chosen", "action", "right"),
    [
        (data_written, "write curated/daily_sales", "s3:PutObject on arn:aws:s3:::{bucket}/some/lake/*"),
        (commit, "write curated/daily_sales", "s3:PutObject on arn:aws:s3:::{bucket}/some/lake/*"),
        (log_read, "read curated/daily_sales", "s3:GetObject on arn:aws:s3:::{bucket}/some/lake/*"),
        (listing, "list curated/daily_sales", "s3:ListBucket on arn:aws:s3:::{bucket};"),
    ],
    ids=["data", "commit", "log", "listing"],
)
def test_missing_right_is_named_with_its_user(
    lake: Lake, troubled: Proxy, chosen: Callable[[str, str], bool], action: str, right: str
) -> None:
    troubled.misbehave(FORBIDDEN, chosen)
    with pytest.raises(LakeError) as raised:
        replace(lake, orders=2)
    message = str(raised.value)
    bucket = bucket_of(lake.url)
    for phrase in (action, right.format(bucket=bucket), f"bucket {bucket}, prefix some/lake", "403 AccessDenied"):
        assert phrase in message
    assert f"access key {ACCESS_KEY} (from env)" in message
    assert SECRET not in message
    troubled.behave()
    assert stored(lake) == [1, 1]


def test_unreadable_rows_are_reported(lake: Lake, troubled: Proxy) -> None:
    troubled.misbehave(FORBIDDEN, data)
    with pytest.raises(LakeError, match=r"read curated/daily_sales in bucket .*s3:GetObject"):
        stored(lake)


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        (Trouble(status=403, code="InvalidAccessKeyId"), LakeError, f"does not accept the credentials.*{ACCESS_KEY}"),
        (Trouble(status=403, code="SignatureDoesNotMatch"), LakeError, f"does not accept.*{ACCESS_KEY}"),
        (Trouble(status=403, code="RequestTimeTooSkewed"), LakeError, "the clock of this machine is wrong"),
        (Trouble(status=400, code="ExpiredToken"), StorageUnavailableError, f"have expired.*{ACCESS_KEY}"),
        (
            Trouble(status=400, code="AuthorizationHeaderMalformed", message="expecting 'us-west-2'"),
            LakeError,
            "is not in region eu-central-1 .*expecting 'us-west-2'.*Set AWS_REGION",
        ),
        (Trouble(status=301, code="PermanentRedirect"), LakeError, "is not in region eu-central-1 .*Set AWS_REGION"),
        (Trouble(status=400, code="KMS.DisabledException", message="off"), LakeError, "KMS.DisabledException off"),
        (Trouble(status=500, code="InternalError", message="sorry"), StorageUnavailableError, "500 InternalError"),
    ],
    ids=lambda value: value.code if isinstance(value, Trouble) else None,
)
def test_s3_errors_are_explained(
    lake: Lake, troubled: Proxy, trouble: Trouble, kind: type[Exception], said: str
) -> None:
    for use, chosen in ((lambda: replace(lake, orders=2), data_written), (lambda: stored(lake), data)):
        troubled.misbehave(trouble, chosen)
        with pytest.raises(kind, match=said):
            use()
    troubled.misbehave(trouble, log_read)
    with pytest.raises(kind, match=said):
        lake.open(DAILY_SALES)


@pytest.mark.usefixtures("bucket")
def test_missing_bucket_is_named() -> None:
    with pytest.raises(LakeError, match=r"there is no bucket nobody-has-made-it; .*LAKE_URL"):
        Lake("s3://nobody-has-made-it/lake", "UTC").open(DAILY_SALES)


def test_unreachable_endpoint_may_be_tried_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailableError, match=r"curated/daily_sales \(127.0.0.1:1\) failed: .*refused"):
        lake.open(DAILY_SALES)


def test_endpoint_without_tls_error_names_the_setting(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace("http://", "https://"))
    with pytest.raises(LakeError, match=r"no encrypted connection .*set AWS_ENDPOINT_URL with http://"):
        lake.open(DAILY_SALES)
