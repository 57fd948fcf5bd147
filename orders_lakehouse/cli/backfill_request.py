"""The request for a backfill, and its command line. This module does not import Dagster."""

from dataclasses import dataclass
from datetime import date

from orders_lakehouse.cli.formatting import program

DEFAULT_JOB = "refresh_all_job"
CAPTURE_JOB = "capture_changes_job"
DERIVE_JOB = "derive_dates_job"
# Jobs that derive everything from raw, layer by layer, without the shop.
FROM_RAW = ("refresh_cleansed_job", "refresh_curated_job", "refresh_marts_job")


@dataclass(frozen=True)
class Request:
    """A request for a backfill.

    Attributes:
        first: First date.
        last: Last date.
        without: Dates to leave out.
        job: Name of the job.
    """

    first: date
    last: date
    without: frozenset[date] = frozenset()
    job: str = DEFAULT_JOB


def command_line(request: Request) -> str:
    """Return the command line of a request."""
    without = [f"--without {day}" for day in sorted(request.without)]
    job = [] if request.job == DEFAULT_JOB else [f"--job {request.job}"]
    return " ".join([program(), "backfill", str(request.first), str(request.last), *without, *job])
