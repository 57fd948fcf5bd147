"""Derive dates of one table as a job on EMR Serverless, on that job's Spark.

spark-submit runs this file, with the package in the job's Python environment: TABLE RUN_ID [FIRST LAST], table as
layer/name. Settings come from the environment, waivers from the step that submits the job. The job does what the
step would do by itself, and commits in the name of the step's run.
"""

import os
import sys
import tempfile
from datetime import date
from pathlib import Path

from dagster_pipes import open_dagster_pipes


def main(path: str, run_id: str, *dates: str) -> None:
    """Derive the dates of a table, or all of a table without dates."""
    with open_dagster_pipes() as pipes, tempfile.TemporaryDirectory() as folder:
        waivers = Path(folder, "waivers.toml")
        waivers.write_text(pipes.extras["waivers"], encoding="utf-8")
        os.environ["LAKEHOUSE_WAIVERS"] = str(waivers)
        # Settings are cached once read, so modules that read them are imported after LAKEHOUSE_WAIVERS is set.
        from pyspark.sql import SparkSession

        from orders_lakehouse.delta.engines.choice import engine_named
        from orders_lakehouse.delta.engines.spark_session import use
        from orders_lakehouse.delta.tables import Lake
        from orders_lakehouse.pipeline.derive import derive
        from orders_lakehouse.settings import settings
        from orders_lakehouse.tables import TABLES

        use(SparkSession.builder.getOrCreate())
        (table,) = [known for known in TABLES if known.path == path]
        span = (date.fromisoformat(dates[0]), date.fromisoformat(dates[1])) if dates else None
        lake = Lake(settings().lake_url, settings().timezone, engine=engine_named("spark"))
        for result in derive(lake, table, span, run_id):
            pipes.log.info(f"{path}: {result.rows} rows in the table, {len(result.changed)} dates changed")


if __name__ == "__main__":
    main(*sys.argv[1:])
