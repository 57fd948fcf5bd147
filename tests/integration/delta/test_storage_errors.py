"""Storage that refuses, is busy, breaks off, is full, or gives back something else than was written."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path

import narwhals as nw
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.corruption import readable_rows
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError, bucket_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.recapture import recapture
from orders_lakehouse.pipeline.row_accounting import row_count
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import KEY_DATES, SOURCE_COLUMNS
from tests.support.rows import on, rows
from tests.support.s3 import ACCESS_KEY, SECRET, Proxy, Trouble, client, proxy

FIRST = on("2020-03-01")
LATER = FIRST + timedelta(days=1)
IDENTITY = ("order_id", "updated_at")


def sales(*days: date, orders: int = 1) -> pl.DataFrame:
    return rows(DAILY_SALES, *({"order_date": day, "orders": orders} for day in days))


def replace(lake: Lake, orders: int) -> None:
    lake.replace_dates(
        [DAILY_SALES], FIRST, LATER, lambda _: [nw.from_native(sales(FIRST, LATER, orders=orders).lazy())]
    )


def insert(lake: Lake) -> int:
    return lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {}, {"order_id": "o2"}), IDENTITY)


def stored(lake: Lake) -> list[int]:
    return rows_of(lake.scan(DAILY_SALES))["orders"].to_list()


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
        (BUSY, r"does not serve curated/daily_sales in .*: 503 SlowDown Please reduce your request rate\."),
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
    with pytest.raises(LakeError, match=r"no encrypted connection .*http:// in AWS_ENDPOINT_URL"):
        lake.open(DAILY_SALES)


class TestADamagedTable:
    """On disk and in a bucket: a file that is not what was written."""

    @pytest.fixture(params=["disk", "s3"])
    def plain(self, request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
        url = str(tmp_path) if request.param == "disk" else f"{request.getfixturevalue('bucket')}/lake"
        made = Lake(url, "UTC")
        replace(made, orders=1)
        insert(made)
        return made

    @staticmethod
    def change(lake: Lake, path: str, change: Callable[[bytes], bytes] | None) -> None:
        if not object_store.is_s3(lake.url):
            file = Path(lake.url, path)
            file.unlink() if change is None else file.write_bytes(change(file.read_bytes()))
            return
        s3, place = client(os.environ["AWS_ENDPOINT_URL"]), {"Bucket": bucket_of(lake.url), "Key": f"lake/{path}"}
        if change is None:
            s3.delete_object(**place)
        else:
            s3.put_object(**place, Body=change(s3.get_object(**place)["Body"].read()))

    @staticmethod
    def a_file(lake: Lake, table: Table) -> str:
        return f"{table.path}/{lake.open(table).get_add_actions(flatten=True)['path'][0].as_py()}"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda content: b"x" * len(content), "is no readable Parquet file"),
            (lambda content: content[:20] + b"\xff" * 60 + content[80:], "is no readable Parquet file"),
            (lambda content: content[: len(content) // 2], r"has [\d,]+ bytes, expected [\d,]+"),
            (lambda _content: b"", r"has 0 bytes, expected [\d,]+"),
            (None, "is missing"),
        ],
        ids=["garbage", "flipped", "cut off", "empty", "gone"],
    )
    def test_damaged_data_file_is_named_with_next_step(
        self, plain: Lake, change: Callable[[bytes], bytes] | None, said: str
    ) -> None:
        derived, raw = self.a_file(plain, DAILY_SALES), self.a_file(plain, RAW_ORDERS)
        for path in (derived, raw):
            self.change(plain, path, change)

        with pytest.raises(LakeError, match=f"curated/daily_sales is damaged: its file .*{said}") as raised:
            stored(plain)
        assert derived.rpartition("/")[2] in str(raised.value)
        assert "`lakehouse reset daily_sales`" in str(raised.value)

        for use in (lambda: insert(plain), lambda: rows_of(plain.scan(RAW_ORDERS))):
            with pytest.raises(LakeError, match=f"raw/orders is damaged: its file .*{said}") as raised:
                use()
            assert raw.rpartition("/")[2] in str(raised.value)
            assert "Raw is the only memory" in str(raised.value)
            assert "If there is none, run `lakehouse recapture orders 2020-03-02`" in str(raised.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda content: content[: len(content) // 2], "is no readable Parquet file"),
            (None, "is missing"),
        ],
        ids=["cut off", "gone"],
    )
    def test_raw_date_is_recaptured_on_any_storage(
        self, plain: Lake, change: Callable[[bytes], bytes] | None, said: str
    ) -> None:
        path = self.a_file(plain, RAW_ORDERS)
        self.change(plain, path, change)
        of_shop, none = rows(RAW_ORDERS, {"order_id": "o3"}), pl.DataFrame()
        done = recapture(plain, RAW_ORDERS, on("2020-03-02"), of_shop, none, Calendar(on("2017-01-01"), "UTC"))
        (wrong,) = done.wrong
        assert wrong.startswith(f"{path.removeprefix('raw/orders/')} {said}")
        assert (done.before, done.kept.height, done.taken.height) == (2, 0, 1)
        assert rows_of(plain.scan(RAW_ORDERS))["order_id"].to_list() == ["o3"]

    @pytest.mark.parametrize(
        "change",
        [lambda _content: b"not json", lambda content: content[: len(content) // 2]],
        ids=["garbage", "cut off"],
    )
    def test_damaged_last_commit_is_named_and_removable(self, plain: Lake, change: Callable[[bytes], bytes]) -> None:
        replace(plain, orders=2)
        last = f"{DAILY_SALES.path}/_delta_log/{2:020}.json"
        self.change(plain, last, change)
        for use in (lambda: stored(plain), lambda: replace(plain, orders=3)):
            with pytest.raises(LakeError, match=f"curated/daily_sales is damaged: the file .*{2:020}.json") as raised:
                use()
            assert f"remove {plain.url}/{last}: the table is then as it was before" in str(raised.value)

        self.change(plain, last, None)
        assert stored(plain) == [1, 1]
        replace(plain, orders=2)
        assert stored(plain) == [2, 2]

    def test_damaged_first_commit_cannot_be_removed(self, plain: Lake) -> None:
        self.change(plain, f"{DAILY_SALES.path}/_delta_log/{0:020}.json", lambda _content: b"{")
        # As another process finds it, which remembers nothing.
        table_cache._handles.clear()
        with pytest.raises(LakeError, match=f"{0:020}.json of its log cannot be read.*`lakehouse reset daily_sales`"):
            stored(plain)

    def test_empty_last_commit_is_an_error_not_an_empty_change(self, tmp_path: Path) -> None:
        lake = Lake(str(tmp_path), "UTC")
        replace(lake, orders=1)
        self.change(lake, f"{DAILY_SALES.path}/_delta_log/{1:020}.json", lambda _content: b"")
        with pytest.raises(LakeError, match=f"{1:020}.json of its log is empty. It is the last commit."):
            stored(lake)


def files_in(lake: Lake) -> set[str]:
    return {str(path) for path in Path(lake.url).rglob("*") if path.is_file()}


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_limit_of_the_user_is_named_and_nothing_changes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC")
    replace(lake, orders=1)
    before, rows, version = files_in(lake), stored(lake), lake.find(DAILY_SALES).version()
    with files_no_larger_than(100), pytest.raises(LakeError) as raised:
        replace(lake, orders=2)
    assert f"{lake.url} takes no file of this size (see ulimit -f): no room to write curated/daily_sales" in str(
        raised.value
    )
    # What was begun of a file is removed in the background, as a rule; no commit names it.
    begun = files_in(lake) - before
    assert not any("_delta_log" in path for path in begun)
    assert (stored(lake), lake.find(DAILY_SALES).version()) == (rows, version)
    replace(lake, orders=2)
    assert stored(lake) == [2, 2]


# In a small file system of its own: a table, a disk that fills up, and room again.
FULL = """
import os, sys
from tests.integration.delta.test_storage_errors import Lake, files_in, replace, stored
lake = Lake(sys.argv[1], "UTC")
replace(lake, orders=1)
before = files_in(lake)
free = os.statvfs(lake.url).f_bavail * os.statvfs(lake.url).f_frsize
with open(sys.argv[1] + "/ballast", "wb") as ballast:
    ballast.write(b"x" * free)
try:
    replace(lake, orders=2)
except RuntimeError as error:
    print(type(error).__name__, error)
assert stored(lake) == [1, 1]
os.remove(sys.argv[1] + "/ballast")
assert files_in(lake) == before
replace(lake, orders=2)
print(stored(lake))
"""
# Whoever may make a user namespace may mount there, whatever the rest of the machine thinks of them.
MOUNTED = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def test_full_disk_is_named_and_nothing_changes(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=512k small {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*MOUNTED, mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: neither by this user nor in a user namespace")
    done = subprocess.run(
        [*MOUNTED, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    said, stands = done.stdout.splitlines()
    assert said.startswith(f"LakeError {tmp_path} is full: no room to write curated/daily_sales (0.0 MiB free of 0.5")
    assert "make room, then run the same dates again" in said
    assert stands == "[2, 2]"


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nobody in particular, for whom modes of files count; root is that one for the time being."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A directory that everybody can reach, unlike pytest's."""
    made = Path(tempfile.mkdtemp(prefix="lakehouse-tests-everyones-"))
    made.chmod(0o755)
    yield made
    with suppress(OSError):
        for path in (made, *made.rglob("*")):
            path.chmod(0o755)
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("use", [stored, lambda lake: replace(lake, orders=2)], ids=["read", "write"])
def test_forbidden_directory_is_named(everyones: Path, use: Callable[[Lake], object]) -> None:
    lake = Lake(str(everyones / "lake"), "UTC")
    replace(lake, orders=1)
    table = Path(lake.url, DAILY_SALES.path)
    locked = [table / "_delta_log"] if use is stored else sorted(table.glob("order_date=*"))
    for path in locked:
        path.chmod(0o000)
    with ordinary_user(), pytest.raises(LakeError, match=f"{table} cannot be used by user .*Permission denied"):
        use(lake)
    for path in locked:
        path.chmod(0o755)
    assert stored(lake) == [1, 1]


def test_lake_that_cannot_be_created_is_named(everyones: Path) -> None:
    everyones.chmod(0o555)
    lake = Lake(str(everyones / "lake"), "UTC")
    with ordinary_user(), pytest.raises(LakeError, match=r"cannot be used by user .*Permission denied"):
        lake.open(DAILY_SALES)


def test_other_row_groups_of_a_damaged_file_are_read(tmp_path: Path) -> None:
    place = tmp_path / "rows.parquet"
    sales(FIRST, LATER, LATER).write_parquet(place, row_group_size=1, compression="uncompressed")
    whole, wrong = readable_rows(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), place.name)
    assert (whole.height, wrong) == (3, None)
    assert whole.equals(sales(FIRST, LATER, LATER))

    second = pq.ParquetFile(place).metadata.row_group(1).column(0)
    begin = min(second.dictionary_page_offset or second.data_page_offset, second.data_page_offset)
    content = bytearray(place.read_bytes())
    content[begin : begin + second.total_compressed_size] = b"\xff" * second.total_compressed_size
    place.write_bytes(content)
    rest, wrong = readable_rows(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), place.name)
    assert rest.height == 2
    assert "is no readable Parquet file" in str(wrong)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (KEY_DATES, "run `lakehouse rebuild-key-dates`"),
        (SOURCE_COLUMNS, "each capture notes the columns of its table anew"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_raw_table_without_dates_has_its_own_remedy(tmp_path: Path, table: Table, said: str) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC")
    lake.append(table, pl.DataFrame([[None] * len(table.schema)], schema=table.schema, orient="row"))
    (path,) = lake.open(table).get_add_actions(flatten=True)["path"].to_pylist()
    Path(lake.location(table), path).unlink()
    with pytest.raises(LakeError, match=f"{table.path} is damaged: its file .* is missing.*{said}"):
        rows_of(lake.scan(table))
