"""`lakehouse quarantine export`: write rows in quarantine to files, for the people who correct them."""

from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import click
import narwhals as nw
import polars as pl

from orders_lakehouse.cli.quarantine.reasons import demand_of
from orders_lakehouse.cli.quarantine.selection import QuarantineError, choose, selection_options, unmasked_option
from orders_lakehouse.contracts.base import personal_columns
from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.pipeline.quarantine import Chosen, quarantined
from orders_lakehouse.tables import QUARANTINE_OF

Format = Literal["csv", "json", "parquet"]

# Pattern of values that a spreadsheet takes for a formula; they get a quote in front. Values that begin with quotes and
# such a sign get one, too, so that removing one quote always restores the value. Other values do not change.
_FORMULA = r"^'*[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 (the wide forms of the same signs)
_NEGATIVE_NUMBER = r"^-[0-9]+(\.[0-9]+)?$"


@click.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@selection_options
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@unmasked_option
def command(
    folder: Path, table: str | None, reason: str | None, day: datetime | None, form: Format, unmasked: bool
) -> None:
    """Write rows in quarantine to files in FOLDER, one for each table, for the people who correct them."""
    export(choose(table, reason, day.date() if day else None), folder, form, unmasked=unmasked)


def export(chosen: Chosen, folder: Path, form: Format, *, unmasked: bool = False) -> None:
    """Write rows in quarantine, with descriptions of their rules, to a file for each table that has some.

    Args:
        chosen: The rows.
        folder: Folder for the files; it is made if necessary.
        form: Format of the files, and their extension.
        unmasked: Write personal values.

    Raises:
        QuarantineError: There are no such rows, or the folder cannot be written to.
    """
    lake = configured_lake()
    summaries = []
    for table in chosen.tables:
        rows = rows_of(nw.from_native(quarantined(lake, table, chosen)))
        if rows.height:
            personal = frozenset() if unmasked else personal_columns(QUARANTINE_OF[table.name].model)
            path = folder / f"{table.name}.{form}"
            _write(_explained(table, masked(rows, personal)), path, form)
            summaries.append(f"{path}: {rows.height:,} row{'' if rows.height == 1 else 's'}")
    if not summaries:
        raise QuarantineError("no selected row is in quarantine: no file was written")
    click.echo("\n".join(summaries))


def _explained(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Return key, reasons and their demands, then the columns of the row as captured."""
    texts = rows["reasons"].unique().to_list()
    demands = ["; ".join(demand_of(table, reason) for reason in reasons.split(", ")) for reasons in texts]
    first = [*table.key, "reasons", "demanded"]
    explained = rows.with_columns(demanded=pl.col("reasons").replace_strict(texts, demands, return_dtype=pl.String))
    return explained.select(*first, pl.exclude(first)).sort(str(table.partitioned_by), *table.key)


def _guarded(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with texts that a spreadsheet does not take for formulas."""
    text = pl.col(pl.String)
    return rows.with_columns(
        pl.when(text.str.contains(_NEGATIVE_NUMBER)).then(text).otherwise(text.str.replace(_FORMULA, "'${0}"))
    )


def _write(rows: pl.DataFrame, path: Path, form: Format) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A new file is private, whatever the mode of the file that it replaces.
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
            file = Path(new.name)
        if form == "csv":
            _guarded(rows).write_csv(file)
        elif form == "json":
            rows.write_json(file)
        else:
            rows.write_parquet(file)
        file.replace(path)
    except OSError as error:
        raise QuarantineError(f"{path} cannot be written: {error}") from error
