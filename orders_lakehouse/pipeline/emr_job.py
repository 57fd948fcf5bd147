"""The part of a run that is a job on EMR Serverless: it derives dates of one table, on the Spark of the job.

spark-submit runs this file, with the package in the Python environment of the job: TABLE RUN_ID [FIRST LAST], table as
layer/name. Settings come from the environment, waivers from whoever submits it. It does what the step of the run would
do by itself, and commits in its name.
"""

import os
import sys
import tempfile
from datetime import date
from pathlib import Path

from dagster_pipes import open_dagster_pipes


def main(path: str, run_id: str, *dates: str) -> None:
    """Derive dates of a table; of a table without dates, all of it."""
    with open_dagster_pipes() as pipes, tempfile.TemporaryDirectory() as folder:
        waivers = Path(folder, "waivers.toml")
        waivers.write_text(pipes.extras["waivers"], encoding="utf-8")
        os.environ["LAKEHOUSE_WAIVERS"] = str(waivers)
        # Only now: settings are read once.
        from pyspark.sql import SparkSession

        from orders_lakehouse.delta.engines.choice import engine_named
        from orders_lakehouse.delta.engines.spark_session import use
        from orders_lakehouse.delta.tables import Lake
        from orders_lakehouse.pipeline.derive import derive
        from orders_lakehouse.settings import settings
        from orders_lakehouse.tables import TABLES

        use(SparkSession.builder.getOrCreate())
        (table,) = [one for one in TABLES if one.path == path]
        span = (date.fromisoformat(dates[0]), date.fromisoformat(dates[1])) if dates else None
        lake = Lake(settings().lake_url, settings().timezone, engine=engine_named("spark"))
        for done in derive(lake, table, span, run_id):
            pipes.log.info(f"{path}: {done.rows} rows stand, {len(done.changed)} dates changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
