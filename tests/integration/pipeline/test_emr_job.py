"""Dates that are derived as jobs on EMR Serverless: all but AWS itself, which a client plays that runs the job here."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from botocore.session import get_session
from botocore.validate import ParamValidator

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.settings import settings
from tests.support.lakehouse import Lakehouse, failures, lakehouse_on

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]

FIRST, LAST = "2017-01-01", "2017-01-09"
JOB = {
    "applicationId": "00application",
    "executionRoleArn": "arn:aws:iam::123456789012:role/lakehouse-job",
    "jobDriver": {
        "sparkSubmit": {
            "entryPoint": "s3://acme-code/emr_job.py",
            "sparkSubmitParameters": "--conf spark.archives=s3://acme-code/environment.tar.gz#environment",
        }
    },
}
_INPUT = get_session().get_service_model("emr-serverless").operation_model("StartJobRun").input_shape
_DRIVER = re.compile(r"--conf spark\.emr-serverless\.driverEnv\.(\w+)=(\S+)")


@dataclass
class Application:
    """Plays the service: runs the entry point here, in a process of its own, on the given Spark."""

    remote: str
    submitted: list[list[str]] = field(default_factory=list)
    state: str = "SUCCESS"

    def start_job_run(self, **parameters: Any) -> dict[str, str]:
        # What the real client refuses before it calls AWS; it fills in the token.
        report = ParamValidator().validate({**parameters, "clientToken": "token"}, _INPUT)
        if report.has_errors():
            raise ParamValidationError(report=report.generate_report())
        submit = parameters["jobDriver"]["sparkSubmit"]
        assert submit["entryPoint"] == "s3://acme-code/emr_job.py"
        assert submit["sparkSubmitParameters"].startswith("--conf spark.archives=")
        self.submitted.append(submit["entryPointArguments"])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAKE", "SHOP", "DAGSTER"))}
        done = subprocess.run(
            [sys.executable, "-m", "orders_lakehouse.pipeline.emr_job", *submit["entryPointArguments"]],
            env={**kept, **dict(_DRIVER.findall(submit["sparkSubmitParameters"])), "SPARK_REMOTE": self.remote},
            check=False,
            timeout=200,
            capture_output=True,
            text=True,
        )
        self.state = "SUCCESS" if done.returncode == 0 else "FAILED"
        return {"jobRunId": "00job", "applicationId": parameters["applicationId"]}

    def get_job_run(self, **_: str) -> dict[str, Any]:
        return {"jobRun": {"state": self.state, "applicationId": "00application", "jobRunId": "00job"}}

    def get_dashboard_for_job_run(self, **_: str) -> dict[str, str]:
        return {"url": "https://example.com"}

    def get_application(self, **_: str) -> dict[str, Any]:
        return {"application": {"type": "Spark"}}


@pytest.fixture
def application(spark_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """An application of EMR Serverless, and a lakehouse that is told to use it."""
    file = tmp_path / "job.json"
    file.write_text(json.dumps(JOB))
    monkeypatch.setenv("LAKEHOUSE_EMR_JOB", str(file))
    found = Application(spark_endpoint)
    monkeypatch.setattr(object_store, "client", lambda _: found)
    # How long dagster waits for messages that are late; here none come.
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
    return found


@pytest.fixture
def lakehouse(
    tmp_path: Path,
    postgres_url_factory: Callable[[str], str],
    application: Application,  # noqa: ARG001
) -> Iterator[Lakehouse]:
    with lakehouse_on(None, tmp_path, postgres_url_factory) as made:
        made.shop(edge_cases())
        yield made


SOME = {"cleansed/orders": (FIRST, LAST)}
ALL = {
    **SOME,
    "curated/customer_profile": (),
    **{f"cleansed/{name}": (FIRST, LAST) for name in ("customers", "products", "order_items", "payments")},
    **{f"curated/{name}": (FIRST, LAST) for name in ("order_lines", "daily_sales")},
}


@pytest.mark.thorough
@pytest.mark.parametrize("expected", [pytest.param(SOME, id="some"), pytest.param(ALL, id="all")])
def test_jobs_make_the_tables_that_the_run_would_make(
    lakehouse: Lakehouse,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
    expected: Mapping[str, tuple[str, ...]],
) -> None:
    of_jobs = " or ".join(f'key:"{path}"' for path in expected)
    for select in ("group:raw", of_jobs):
        result = lakehouse.run(FIRST, LAST, select=select)
        assert result.success, failures(result)
    assert {path: tuple(dates) for path, run_id, *dates in application.submitted} == expected
    told = result.asset_materializations_for_node("cleansed__orders")[-1].metadata
    assert told["rows_in_run"].value == lakehouse.lake_rows(ORDERS).height
    assert told["dates_changed_in_run"].value > 0
    made, files = lakehouse.lake_tables(), files_of(lakehouse.lake.open(ORDERS), ORDERS)
    assert all(path.startswith("cluster-") for path in files["path"])

    monkeypatch.delenv("LAKEHOUSE_EMR_JOB")
    settings.cache_clear()
    here = lakehouse.run(FIRST, LAST, select=of_jobs)
    assert here.success, failures(here)
    for path, frame in lakehouse.lake_tables().items():
        assert frame.equals(made[path]), path
    assert files_of(lakehouse.lake.open(ORDERS), ORDERS).equals(files)


@pytest.mark.thorough
def test_job_that_fails_fails_the_step_and_leaves_the_tables(
    lakehouse: Lakehouse, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lakehouse.run(FIRST, LAST, select="group:raw").success
    monkeypatch.setattr(application, "remote", "http://no-spark")
    result = lakehouse.run(FIRST, LAST, select="key:cleansed/orders")
    (failure,) = failures(result)
    assert "the job on EMR Serverless that derives cleansed/orders failed" in failure
    assert lakehouse.lake_rows(ORDERS).is_empty()


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("{", "which cannot be used (JSONDecodeError"),
        ("{}", "expected JSON with the parameters of StartJobRun, with jobDriver.sparkSubmit.entryPoint"),
        (json.dumps({**JOB, "applicationId": ""}), "does not take the job of"),
    ],
)
def test_job_that_cannot_be_submitted_is_reported(
    lakehouse: Lakehouse, application: Application, job: str, expected: str
) -> None:
    Path(str(settings().emr_job)).write_text(job)
    assert lakehouse.run(FIRST, LAST, select="key:raw/orders").success
    (failure,) = failures(lakehouse.run(FIRST, LAST, select="key:cleansed/orders"))
    assert expected in failure
    assert application.submitted == []


def test_user_without_submit_right_is_named(
    lakehouse: Lakehouse, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        denied = {"Code": "AccessDeniedException", "Message": "not authorized to perform: emr-serverless:StartJobRun"}
        raise ClientError({"Error": denied}, "StartJobRun")

    monkeypatch.setattr(application, "start_job_run", refuse)
    (failure,) = failures(lakehouse.run(FIRST, LAST, select="key:cleansed/orders"))
    assert "emr-serverless:StartJobRun" in failure
