"""`make bench`, or `python -m bench --help`."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil

from bench import sizes
from bench.empty_dates import empty_dates
from bench.follow import follow
from bench.history import history
from bench.report import comparison, markdown
from bench.rivals import RIVALS, race, require_equal
from bench.run import CHANGING, ONCE, WORKS, Bench, BenchError, Rivals, in_turns, measure, prepared
from bench.skew import skewed
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.settings import PROJECT

_RESULTS = PROJECT / "bench" / "results"
_LIBRARIES = (
    "adbc-driver-postgresql",
    "dagster",
    "dagster-dbt",
    "dbt-core",
    "dbt-postgres",
    "deltalake",
    "narwhals",
    "pandera",
    "polars",
    "pyarrow",
)


# Number of turns for each of several sizes.
_TURNS = 5
_DATE = click.DateTime(formats=["%Y-%m-%d"])


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    numbers = value.split(",")
    if not all(number.strip().isdecimal() and int(number) for number in numbers):
        raise click.BadParameter(f"{value!r}; expected numbers from 1 on, such as 1,5,20")
    return tuple(map(int, numbers))


@click.command()
@click.option(
    "--copies", callback=_numbers, default="1", show_default=True, help="Shops so many times as big, such as 1,5,20."
)
@click.option(
    "--runs",
    callback=_numbers,
    default="3",
    show_default=True,
    help="Each work so many times, or 3,1,1 for three sizes.",
)
@click.option(
    "--rivals",
    type=click.Choice([*RIVALS, "both", "none"]),
    help="Rivals of the year. Default: both; none for a given shop.",
)
@click.option("--from", "first", type=_DATE, help="First date of the year. Default: the first partition.")
@click.option("--to", "last", type=_DATE, help="The one date, after the year. Default: the last whole one.")
@click.option(
    "--history", "times", type=click.IntRange(min=1), default=10, show_default=True, help="The long history; 1: none."
)
@click.option("--save", is_flag=True, help="Let this result take the place of the stored one.")
@click.option("--results", type=click.Path(path_type=Path), default=_RESULTS, help="Folder of the stored results.")
def bench(
    copies: tuple[int, ...],
    runs: tuple[int, ...],
    rivals: str | None,
    first: datetime | None,
    last: datetime | None,
    times: int,
    save: bool,
    results: Path,
) -> None:
    """Measure the year, one date on top of it, and the same dates again, unchanged.

    The year is compared with its rivals: a bare script, and dlt with dbt. Four further works run only at the first
    size: a shop with a Black Friday, the delay of the daemon, thousands of empty dates, and a changed date with a
    history that is ten times as long. With several sizes, changed lines are measured at each of them, in turns. The
    first result for a shop and its dates is stored; later ones are compared with it.
    """
    given = os.environ.get("SHOP_DATABASE_URL")
    if given and len(copies) > 1:
        raise BenchError(f"found --copies {','.join(map(str, copies))} for a shop that is given; it has one size")
    if len(runs) not in (1, len(copies)):
        raise BenchError(f"found {len(runs)} numbers of runs for {len(copies)} sizes; expected one, or one for each")
    counts = runs if len(runs) == len(copies) else runs * len(copies)
    choice = rivals or ("none" if given else "both")
    names = {"both": RIVALS, "none": ()}.get(choice, (choice,))
    with ExitStack() as stack:
        lakehouses: dict[int, Bench] = {}
        for size, count in zip(copies, counts, strict=True):
            source = "given" if given else f"sample-{size}x"
            click.echo(f"Preparing the shop ({source}) ...")
            lakehouse = stack.enter_context(prepared(size, given))
            result = _measured(lakehouse, source, size, count, names, first, last, None if lakehouses else times)
            lakehouses[size] = lakehouse
            publish(result, results, save)
        if len(lakehouses) > 1:
            by_size = dict(sorted(lakehouses.items()))
            turns = in_turns(by_size, *_dates(lakehouse, first, last), _TURNS, click.echo)
            publish_turns({"date": datetime.now(UTC).date().isoformat(), "commit": _commit(), **turns}, results, save)


def _dates(lakehouse: Bench, first: datetime | None, last: datetime | None) -> tuple[date, date]:
    """Return the first and last date of the works: the given ones, or those of the shop."""
    start = first.date() if first else date.fromisoformat(lakehouse.settings["LAKEHOUSE_START_DATE"])
    end = last.date() if last else lakehouse.shop()[0]
    if not start < end:
        raise BenchError(f"found {start} to {end}; expected at least two dates")
    return start, end


def _measured(
    lakehouse: Bench,
    source: str,
    copies: int,
    runs: int,
    rivals: Sequence[str],
    first: datetime | None,
    last: datetime | None,
    times: int | None,
) -> dict[str, Any]:
    """Measure a shop, and return the result; without `times`, the works of the first size are left out."""
    start, end = _dates(lakehouse, first, last)
    given = source == "given"
    left_out = (*(() if times else ONCE), *(CHANGING if given else ()))
    works = [work for work in WORKS if work not in left_out]
    compared_rivals = Rivals(rivals, race, require_equal) if rivals else None
    measured = measure(lakehouse, start, end, runs, click.echo, works, compared_rivals)
    result: dict[str, Any] = {
        "name": source if first is None and last is None else f"{source}-{start}-{end}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": _machine(),
        "versions": {
            "Python": platform.python_version(),
            "Postgres": lakehouse.postgres_version(),
            **{library: version(library) for library in _LIBRARIES},
        },
        "settings": lakehouse.settings,
        "copies": copies,
        "shop": lakehouse.shop()[1],
        "runs": runs,
        "work": {work: measured[work] for work in works},
    }
    if rivals:
        result["rivals"] = {name: measured[name] for name in rivals}
    if times and not given:
        # A given shop is only read.
        click.echo("  following changes with the daemon ...")
        result["follow_seconds"] = follow(lakehouse.environment, runs)
        result["skewed"] = skewed(lakehouse, start, end - timedelta(days=1), runs, click.echo)
        result["empty_dates"] = empty_dates(lakehouse, runs, click.echo)
        if times > 1:
            result["history"] = history(lakehouse, start, end, times, runs, click.echo)
    return result


def publish(result: dict[str, Any], folder: Path, save: bool) -> None:
    """Print a result, compare it with the stored one of its name, and store it if there is none or it is wanted.

    Args:
        result: What was measured.
        folder: Folder of the stored results; its README shows them all.
        save: Whether the result replaces the stored one.
    """
    stored = folder / f"{result['name']}.json"
    click.echo("\n" + markdown(result))
    if stored.exists():
        click.echo(comparison(json.loads(stored.read_text()), result))
    if save or not stored.exists():
        _store(result, stored, folder)


def publish_turns(turns: dict[str, Any], folder: Path, save: bool) -> None:
    """Print the result of `in_turns`, and store it if there is no stored result or `save` is set.

    Args:
        turns: The measurements, with their date and commit.
        folder: Folder of the stored results; its README shows them, too.
        save: Whether they replace the stored ones.
    """
    stored = folder / "turns" / "changed-lines.json"
    click.echo("\n" + "\n".join(sizes.of_turns(turns)))
    if save or not stored.exists():
        _store(turns, stored, folder)


def _store(measured: dict[str, Any], path: Path, folder: Path) -> None:
    """Store a measurement, and write the page and the plot of all results in the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n")
    everything = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    pages = [markdown(result) for result in everything]
    of_shop = sizes.of_sizes(everything)
    if len(of_shop) > 1:
        turns = [json.loads(path.read_text()) for path in sorted(folder.glob("turns/*.json"))]
        pages.insert(0, sizes.markdown(of_shop, turns))
        (folder / "sizes.svg").write_text(sizes.plot(of_shop))
    (folder / "README.md").write_text("# Results\n\nWritten by `make bench`.\n\n" + "\n".join(pages))
    click.echo(f"Stored in {path}.")


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
    }


def _cpu() -> str:
    """Return the model of the processor, from Linux."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the checked-out commit, marked if the tree differs from it; None outside of a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    described = subprocess.run(  # noqa: S603 (a fixed command)
        [git, "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None


def main() -> None:
    """Run the benchmark; expected failures end with their message and status 1."""
    try:
        bench()
    except ExpectedError as error:
        click.secho(f"Error: {error}", fg="red", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
