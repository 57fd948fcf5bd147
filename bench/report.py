"""Medians, a comparison with an earlier result, and both as Markdown: pure functions over results in JSON form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Result = Mapping[str, Any]
Run = Mapping[str, Any]

# Ratio of medians above which a stage counts as slower; below its inverse, it counts as faster.
NOTABLE = 1.15
_PARTS = {
    "start_seconds": "start, until the first step",
    "work_seconds": "work of the stages",
    "event_seconds": "Dagster's events",
    "dbt_seconds": "dbt's start and end",
    "rest_seconds": "between the steps, and after the last",
}
NAMES = {"bare": "bare script", "dlt_dbt": "dlt and dbt"}
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Spread:
    """The median of some runs, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the median of values of at least one run."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


def verdict(before: Spread, now: Spread) -> str:
    """Return `slower` or `faster` if the medians are far apart; with a question mark if runs overlap or are single."""
    if now.median > NOTABLE * before.median:
        word, apart = "slower", now.low > before.high
    elif now.median * NOTABLE < before.median:
        word, apart = "faster", now.high < before.low
    else:
        return ""
    several = before.low < before.high and now.low < now.high
    return word if apart and several else f"{word}?"


def markdown(result: Result) -> str:
    """Return a result in Markdown: its conditions, then a table for each work."""
    machine, versions = result["machine"], result["versions"]
    shop = ", ".join(f"{rows:,} {table}" for table, rows in result["shop"].items())
    lines = [
        f"## {result['name']}",
        "",
        f"{result['date']}, commit {result['commit'] or 'unknown'}; "
        f"median of {result['runs']} runs (lowest to highest). "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['kernel']}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "",
        f"Shop: {shop}. " + ", ".join(f"{name}={value}" for name, value in result["settings"].items()) + ".",
    ]
    for work, measured in result["work"].items():
        lines += ["", f"### {work}: {measured['from']} to {measured['to']}", "", *_stage_table(measured["runs"])]
        lines += ["", *_part_table(measured["runs"]), "", _memory(measured["runs"])]
    if rivals := result.get("rivals"):
        lines += ["", "### rivals: the year beside them", "", *_rivals(result["work"]["year"]["runs"], rivals)]
    if "unchecked" in result["work"]:
        checked, unchecked = (_spread(result["work"][work]["runs"], "seconds") for work in ("year", "unchecked"))
        share = 100 * (checked.median / unchecked.median - 1)
        lines += ["", "### checks", ""]
        lines += [f"The year with all checks {_seconds(checked)} s, without {_seconds(unchecked)} s: {share:+.0f} %."]
    if skewed := result.get("skewed"):
        title = f"{skewed['times']} times the orders on {skewed['date']}"
        lines += ["", f"### skewed: {title}", "", *_skewed(result, skewed)]
    if followed := result.get("follow_seconds"):
        lines += ["", "### follow", ""]
        lines += [f"From a change in the shop to its tested fact, with the daemon: {_seconds(Spread.of(followed))} s."]
    if empty := result.get("empty_dates"):
        lines += ["", "### empty dates: the same rows in a lakehouse that begins long before them", ""]
        lines += [
            f"{name}: {of['from']} to {of['to']}, {of['partitions']:,} partitions.  " for name, of in empty.items()
        ]
        compared = _compared(*(of["runs"] for of in empty.values()))
        lines += ["", *table(("stage", *(f"{name}, s" for name in empty), "ratio", ""), compared)]
    if histories := result.get("history"):
        lines += ["", "### history: one changed date beside a short and a long one", ""]
        lines += [
            f"{name}: {of['from']} to {of['to']}, {of['order_lines']:,} lines.  " for name, of in histories.items()
        ]
        compared = _compared(*(of["runs"] for of in histories.values()))
        lines += ["", *table(("stage", *(f"{name}, s" for name in histories), "ratio", ""), compared)]
    return "\n".join(lines) + "\n"


def comparison(before: Result, now: Result) -> str:
    """Compare two results of a name: differences in their conditions, then the ratio of each stage's seconds."""
    lines = [f"## {now['name']}: against {before['date']}, commit {before['commit'] or 'unknown'}", ""]
    if differences := differing(before, now):
        lines += ["Not the same: " + "; ".join(differences) + ".", ""]
    for work, measured in now["work"].items():
        if work in before["work"]:
            rows = list(_compared(before["work"][work]["runs"], measured["runs"]))
            lines += [f"### {work}", "", *table(("stage", "before, s", "now, s", "ratio", ""), rows), ""]
    for name, measured in now.get("rivals", {}).items():
        if name in before.get("rivals", {}):
            then = _ratios(before["work"]["year"]["runs"], before["rivals"][name]["runs"], _counted)
            since = _ratios(now["work"]["year"]["runs"], measured["runs"], _counted)
            ratios = f"the year took {then.median:.2f} times as long, takes {since.median:.2f}"
            lines += [f"### beside {NAMES[name]}: {ratios} {verdict(then, since)}".rstrip(), ""]
    if "skewed" in before and "skewed" in now:
        runs = (before["skewed"]["runs"], now["skewed"]["runs"])
        lines += ["### skewed", "", *table(("stage", "before, s", "now, s", "ratio", ""), _compared(*runs)), ""]
    if "follow_seconds" in before and "follow_seconds" in now:
        earlier, later = (Spread.of(result["follow_seconds"]) for result in (before, now))
        ratio = f"ratio {later.median / earlier.median:.2f} {verdict(earlier, later)}".rstrip()
        lines += [f"### follow: before {_seconds(earlier)} s, now {_seconds(later)} s, {ratio}", ""]
    if "empty_dates" in before and "empty_dates" in now:
        earlier_ratio, later_ratio = (_growth(result["empty_dates"]) for result in (before, now))
        lines += [f"### empty dates: their ratio was {earlier_ratio:.2f}, is {later_ratio:.2f}", ""]
    if "history" in before and "history" in now:
        earlier_ratio, later_ratio = (_growth(result["history"]) for result in (before, now))
        lines += [f"### history: the long one's ratio was {earlier_ratio:.2f}, is {later_ratio:.2f}", ""]
    return "\n".join(lines)


def _compared(before: Sequence[Run], now: Sequence[Run]) -> Iterable[Sequence[str]]:
    for name, value in _timed(now).items():
        earlier = _timed(before).get(name)
        if earlier is None:
            yield name, "", _seconds(value), "", "new"
            continue
        ratio = f"{value.median / earlier.median:.2f}" if earlier.median else ""
        yield name, _seconds(earlier), _seconds(value), ratio, verdict(earlier, value)


def _growth(both: Mapping[str, Any]) -> float:
    """Return the seconds of the second of two works as a multiple of the first."""
    short, long = (_spread(work["runs"], "seconds").median for work in both.values())
    return short and long / short


def _timed(runs: Sequence[Run]) -> dict[str, Spread]:
    stages = {name: Spread.of(run["stages"][name]["seconds"] for run in runs) for name in runs[0]["stages"]}
    parts = {label: _spread(runs, part) for part, label in _PARTS.items()}
    return {**stages, **parts, "in all": _spread(runs, "seconds")}


def differing(before: Result, now: Result) -> list[str]:
    """Describe differences in machine, versions, settings, shop and dates of two results."""

    def facts(result: Result) -> dict[str, Any]:
        ranges = {f"dates of {work}": f"{of['from']} to {of['to']}" for work, of in result["work"].items()}
        return {**result["machine"], **result["versions"], **result["settings"], **result["shop"], **ranges}

    earlier, later = facts(before), facts(now)
    return [
        f"{name} (was {earlier.get(name)}, is {later.get(name)})"
        for name in {**earlier, **later}
        if earlier.get(name) != later.get(name)
    ]


def _stage_table(runs: Sequence[Run]) -> list[str]:
    headings = ("stage", "seconds", "work", "events", "dbt", "rows", "rows/s of work", "MB written", "peak MB")
    return table(headings, [_stage_row(name, runs) for name in runs[0]["stages"]])


def _stage_row(name: str, runs: Sequence[Run]) -> Sequence[str]:
    def of(key: str) -> Spread:
        return Spread.of(run["stages"][name][key] or 0 for run in runs)

    rows, work = of("rows").median, of("work_seconds").median
    return (
        name,
        _seconds(of("seconds")),
        f"{work:.1f}",
        f"{of('event_seconds').median:.1f}",
        f"{of('dbt_seconds').median:.1f}",
        f"{rows:,.0f}",
        f"{rows / work:,.0f}" if rows and work > 0 else "",
        f"{of('bytes').median / _MEGABYTE:,.1f}",
        f"{of('peak_bytes').median / _MEGABYTE:,.0f}",
    )


def _part_table(runs: Sequence[Run]) -> list[str]:
    whole = _spread(runs, "seconds")
    rows = []
    for part, label in _PARTS.items():
        spread = _spread(runs, part)
        rows.append((label, _seconds(spread), f"{100 * spread.median / whole.median:.0f} %"))
    return table(("where the time goes", "seconds", "share"), [*rows, ("in all", _seconds(whole), "")])


def net_seconds(run: Run) -> float:
    """Return the seconds of a run, ours or a rival's, without starts (process, dbt) and without Dagster's events."""
    return float(run["seconds"] - sum(run.get(part, 0.0) for part in ("start_seconds", "event_seconds", "dbt_seconds")))


def _counted(run: Run) -> float:
    return float(run["seconds"])


def _cpu(run: Run) -> float:
    return float(run["cpu_seconds"] + run["postgres_cpu_seconds"])


def _ratios(ours: Sequence[Run], theirs: Sequence[Run], cost: Callable[[Run], float]) -> Spread:
    """Return the cost of ours as a multiple of the rival's, for each pair of runs, which took turns."""
    return Spread.of(cost(our_run) / cost(their_run) for our_run, their_run in zip(ours, theirs, strict=True))


def _rivals(ours: Sequence[Run], rivals: Mapping[str, Any]) -> list[str]:
    costs = {"in all": _counted, "net of starts and events": net_seconds, "CPU": _cpu}
    rows = []
    for name, runs in {"lakehouse": ours, **{name: of["runs"] for name, of in rivals.items()}}.items():
        peak = _spread(runs, "peak_bytes").median / _MEGABYTE
        row = [
            NAMES.get(name, name),
            *(_seconds(Spread.of(map(cost, runs))) for cost in costs.values()),
            f"{peak:,.0f}",
        ]
        rows.append(
            [*row, *("" if runs is ours else f"{_ratios(ours, runs, cost).median:.2f}" for cost in costs.values())]
        )
    times = (f"times, {name}" for name in costs)
    lines = table(("", *(f"{name}, s" for name in costs), "peak MB", *times), rows)
    for name, of in rivals.items():
        stages = {stage: Spread.of(run["stages"][stage] for run in of["runs"]) for stage in of["runs"][0]["stages"]}
        lines += [
            "",
            f"{NAMES[name]}: " + ", ".join(f"{stage} {_seconds(spread)} s" for stage, spread in stages.items()),
        ]
        lines[-1] += "."
    return lines


def _skewed(result: Result, skewed: Mapping[str, Any]) -> list[str]:
    even = {"order_lines": result["shop"]["order_items"], "runs": result["work"]["year"]["runs"]}
    rows = []
    for name, of in {"even": even, "skewed": skewed}.items():
        work, peak = (_spread(of["runs"], key).median for key in ("work_seconds", "peak_bytes"))
        seconds = _spread(of["runs"], "seconds")
        million = of["order_lines"] / 1e6
        per_million = (f"{seconds.median / million:.1f}", f"{work / million:.1f}")
        rows.append((name, f"{of['order_lines']:,}", _seconds(seconds), *per_million, f"{peak / _MEGABYTE:,.0f}"))
    headings = ("shop", "lines", "seconds", "s per million lines", "of it work", "peak MB")
    return [f"The date has {skewed['order_lines_of_date']:,} lines.", "", *table(headings, rows)]


def _memory(runs: Sequence[Run]) -> str:
    events = _spread(runs, "events").median
    run, server = _spread(runs, "peak_bytes"), _spread(runs, "postgres_peak_bytes")
    return (
        f"{events:,.0f} events. Peak memory: the run's processes {run.median / _MEGABYTE:,.0f} MB "
        f"({run.low / _MEGABYTE:,.0f} to {run.high / _MEGABYTE:,.0f}), Postgres {server.median / _MEGABYTE:,.0f} MB."
        + _usage(runs)
    )


def _usage(runs: Sequence[Run]) -> str:
    """Return defaults for values that older results do not have."""
    if any("cpu_seconds" not in run for run in runs):
        return ""
    cpu, of_postgres = _spread(runs, "cpu_seconds").median, _spread(runs, "postgres_cpu_seconds").median
    written = median(sum(stage["bytes"] for stage in run["stages"].values()) for run in runs)
    outside = median(1 - run["work_seconds"] / run["seconds"] for run in runs)
    return (
        f" Proportional, {_spread(runs, 'proportional_peak_bytes').median / _MEGABYTE:,.0f} MB. "
        f"{cpu:.1f} s of CPU, and {of_postgres:.1f} s in Postgres. {written / _MEGABYTE:,.0f} MB written. "
        f"{100 * outside:.0f} % of the time outside of the work."
    )


def _spread(runs: Sequence[Run], key: str) -> Spread:
    return Spread.of(run[key] or 0 for run in runs)


def _seconds(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"{spread.median:.1f}"
    return f"{spread.median:.1f} ({spread.low:.1f} to {spread.high:.1f})"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines of a Markdown table; all columns except the first are numbers."""
    ruler = [":--", *["--:"] * (len(headings) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (headings, ruler, *rows)]
