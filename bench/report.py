"""Medians, a comparison with an earlier result, and both as Markdown: pure functions over results as JSON has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Result = Mapping[str, Any]
Run = Mapping[str, Any]

# A ratio of medians beyond which a stage counts as slower; its inverse, as faster.
NOTABLE = 1.15
_PARTS = {
    "start_seconds": "start, until the first step",
    "work_seconds": "work of the stages",
    "event_seconds": "Dagster's events",
    "dbt_seconds": "dbt's start and end",
    "rest_seconds": "between the steps, and after the last",
}
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Spread:
    """The median of some runs, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """From the values of the runs, at least one."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


def verdict(before: Spread, now: Spread) -> str:
    """`slower` or `faster` when the medians are far apart; with a question mark when runs overlap or stand alone."""
    if now.median > NOTABLE * before.median:
        word, apart = "slower", now.low > before.high
    elif now.median * NOTABLE < before.median:
        word, apart = "faster", now.high < before.low
    else:
        return ""
    several = before.low < before.high and now.low < now.high
    return word if apart and several else f"{word}?"


def markdown(result: Result) -> str:
    """A result: what was measured on what, then a table for each work."""
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
    if "unchecked" in result["work"]:
        checked, unchecked = (_spread(result["work"][work]["runs"], "seconds") for work in ("year", "unchecked"))
        share = 100 * (checked.median / unchecked.median - 1)
        lines += ["", "### checks", ""]
        lines += [f"The year with all checks {_seconds(checked)} s, without {_seconds(unchecked)} s: {share:+.0f} %."]
    if followed := result.get("follow_seconds"):
        lines += ["", "### follow", ""]
        lines += [f"From a change in the shop to its tested fact, with the daemon: {_seconds(Spread.of(followed))} s."]
    if histories := result.get("history"):
        lines += ["", "### history: one changed date beside a short and a long one", ""]
        lines += [
            f"{name}: {of['from']} to {of['to']}, {of['order_lines']:,} lines.  " for name, of in histories.items()
        ]
        compared = _compared(*(of["runs"] for of in histories.values()))
        lines += ["", *_table(("stage", *(f"{name}, s" for name in histories), "ratio", ""), compared)]
    return "\n".join(lines) + "\n"


def comparison(before: Result, now: Result) -> str:
    """Two results of a name: what is not the same about them, then the ratio of each stage's seconds."""
    lines = [f"## {now['name']}: against {before['date']}, commit {before['commit'] or 'unknown'}", ""]
    differing = _differing(before, now)
    if differing:
        lines += ["Not the same: " + "; ".join(differing) + ".", ""]
    for work, measured in now["work"].items():
        if work in before["work"]:
            rows = list(_compared(before["work"][work]["runs"], measured["runs"]))
            lines += [f"### {work}", "", *_table(("stage", "before, s", "now, s", "ratio", ""), rows), ""]
    if "follow_seconds" in before and "follow_seconds" in now:
        earlier, later = (Spread.of(result["follow_seconds"]) for result in (before, now))
        ratio = f"ratio {later.median / earlier.median:.2f} {verdict(earlier, later)}".rstrip()
        lines += [f"### follow: before {_seconds(earlier)} s, now {_seconds(later)} s, {ratio}", ""]
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


def _growth(histories: Mapping[str, Any]) -> float:
    """Seconds of a changed date beside the long history, in those beside the short one."""
    short, long = (_spread(histories[name]["runs"], "seconds").median for name in ("short", "long"))
    return short and long / short


def _timed(runs: Sequence[Run]) -> dict[str, Spread]:
    stages = {name: Spread.of(run["stages"][name]["seconds"] for run in runs) for name in runs[0]["stages"]}
    parts = {label: _spread(runs, part) for part, label in _PARTS.items()}
    return {**stages, **parts, "in all": _spread(runs, "seconds")}


def _differing(before: Result, now: Result) -> list[str]:
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
    return _table(headings, [_stage_row(name, runs) for name in runs[0]["stages"]])


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
    return _table(("where the time goes", "seconds", "share"), [*rows, ("in all", _seconds(whole), "")])


def _memory(runs: Sequence[Run]) -> str:
    events = _spread(runs, "events").median
    run, server = _spread(runs, "peak_bytes"), _spread(runs, "postgres_peak_bytes")
    return (
        f"{events:,.0f} events. Peak memory: the run's processes {run.median / _MEGABYTE:,.0f} MB "
        f"({run.low / _MEGABYTE:,.0f} to {run.high / _MEGABYTE:,.0f}), Postgres {server.median / _MEGABYTE:,.0f} MB."
    )


def _spread(runs: Sequence[Run], key: str) -> Spread:
    return Spread.of(run[key] or 0 for run in runs)


def _seconds(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"{spread.median:.1f}"
    return f"{spread.median:.1f} ({spread.low:.1f} to {spread.high:.1f})"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = [":--", *["--:"] * (len(headings) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (headings, ruler, *rows)]
