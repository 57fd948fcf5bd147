"""The growth of cost with the size of the shop: a table, the exponent and a plot of stored results. Pure functions."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from bench.report import NAMES, differing, net_seconds, table

Result = Mapping[str, Any]
Run = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

_MEGABYTE = 1_000_000
_OURS = "lakehouse"
# Works that run on top of the year.
_ON_TOP = ("one date", "changed lines")
_COLOURS = {_OURS: "#2563eb", "bare": "#6b7280", "dlt_dbt": "#d97706"}
_MARKS = [factor * 10.0**power for power in range(-3, 7) for factor in (1, 2, 5)]
_OF_TURNS = ("copies", "seconds", "ratio", "CPU s", "ratio")
# Size of the plot and space around its axes, in pixels.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 400, 56, 44, 16, 96


def exponent(points: Points) -> float:
    """Return the slope of a straight line through the logarithms, by least squares.

    Args:
        points: Size and cost, two or more with different sizes.
    """
    xs, ys = ([math.log(value) for value in values] for values in zip(*points, strict=True))
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)


def of_sizes(results: Iterable[Result]) -> list[Result]:
    """Return the results for the complete sample shop, the smallest first."""
    whole = [result for result in results if re.fullmatch(r"sample-\d+x", result["name"])]
    return sorted(whole, key=lambda result: int(result["copies"]))


def markdown(results: Sequence[Result], turns: Iterable[Mapping[str, Any]] = ()) -> str:
    """Describe the growth of cost for the year, for one date and for some changed lines on top of it.

    Args:
        results: Two or more results of `of_sizes`.
        turns: The result of `bench.run.in_turns`.
    """
    smallest, largest = results[0], results[-1]
    on_top = [heading for work in _ON_TOP for heading in (f"{work}, s", "its ratio")]
    headings = ("copies", "lines", "year, s", "of it work", "CPU s", "lines/s", "peak MB", *on_top)
    lines = ["## Sizes", "", "![Seconds of the year by lines of the shop](sizes.svg)", ""]
    lines += table(headings, [_row(result, smallest) for result in results])
    costs: dict[str, Callable[[Run], float | None]] = {
        "seconds, everything counted": lambda run: run["seconds"],
        "seconds of work": lambda run: run["work_seconds"],
        "net of starts and events": net_seconds,
        "seconds of CPU": cpu_seconds,
    }
    exponents = {name: points(results, "year", cost) for name, cost in costs.items()}
    texts = [f"{name} {exponent(pairs):.2f}" for name, pairs in exponents.items() if len(pairs) == len(results)]
    lines += ["", f"Cost grows with size with an exponent of: {', '.join(texts)}."]
    peaks = [_median(result["work"]["year"]["runs"], lambda run: run["peak_bytes"]) for result in (smallest, largest)]
    if peaks[0] and peaks[1]:
        growth = largest["copies"] / smallest["copies"]
        lines[-1] += f" Peak memory is {peaks[1] / peaks[0]:.2f} times as high at {growth:g} times the size."
    for result in results[1:]:
        differences = differing({**smallest, "shop": {}, "work": {}}, {**result, "shop": {}, "work": {}})
        if result["commit"] != smallest["commit"]:
            differences.append(f"commit (was {smallest['commit']}, is {result['commit']})")
        if differences:
            lines += ["", f"Not the same, {result['name']} beside {smallest['name']}: {'; '.join(differences)}."]
    for result_in_turns in turns:
        lines += ["", *of_turns(result_in_turns)]
    return "\n".join(lines) + "\n"


def of_turns(turns: Mapping[str, Any]) -> Sequence[str]:
    """Describe the cost of the same number of changed lines of a date at each size, in turns, as lines of a page.

    Args:
        turns: The result of `bench.run.in_turns`, with date and commit; ratios compare a turn with the first size.
    """
    first = next(iter(turns["runs"].values()))
    title = f"### Changed lines of a date, in turns: dates from {turns['from']} to {turns['to']}"
    measured = f"{turns['date']}, commit {turns['commit']}; medians (lowest to highest), ratios turn by turn."
    return (
        title,
        "",
        measured,
        "",
        *table(_OF_TURNS, [_of_size(copies, runs, first) for copies, runs in turns["runs"].items()]),
    )


def _of_size(copies: str, runs: Sequence[Run], first: Sequence[Run]) -> Sequence[str]:
    cells = [copies]
    for cost, places in ((lambda run: run["seconds"], 1), (cpu_seconds, 1)):
        costs, firsts = ([cost(run) or math.nan for run in group] for group in (runs, first))
        ratios = [value / of_first for value, of_first in zip(costs, firsts, strict=True)]
        cells += [_spread(costs, places), _spread(ratios, 2)]
    return cells


def _spread(values: Sequence[float], places: int) -> str:
    return f"{median(values):.{places}f} ({min(values):.{places}f} to {max(values):.{places}f})"


def _row(result: Result, smallest: Result) -> Sequence[str]:
    year = result["work"]["year"]["runs"]
    seconds = _median(year, lambda run: run["seconds"]) or math.nan
    cpu, peak = _median(year, cpu_seconds), _median(year, lambda run: run["peak_bytes"])
    return (
        str(result["copies"]),
        f"{result['shop']['order_items']:,}",
        f"{seconds:.1f}",
        f"{_median(year, lambda run: run['work_seconds']) or 0:.1f}",
        f"{cpu:.1f}" if cpu else "",
        f"{result['shop']['order_items'] / seconds:,.0f}",
        f"{peak / _MEGABYTE:,.0f}" if peak else "",
        *(cell for work in _ON_TOP for cell in _on_top(result, smallest, work)),
    )


def _on_top(result: Result, smallest: Result, work: str) -> tuple[str, str]:
    """Return the seconds of a work, and their multiple of the smallest size; empty if it was not done."""
    seconds, first = (
        _median(of["work"][work]["runs"], lambda run: run["seconds"]) if work in of["work"] else None
        for of in (result, smallest)
    )
    return f"{seconds:.1f}" if seconds else "", f"{seconds / first:.2f}" if seconds and first else ""


def cpu_seconds(run: Run) -> float | None:
    """Return the CPU seconds of a run and of the server meanwhile; None if they were not measured."""
    return run["cpu_seconds"] + run["postgres_cpu_seconds"] if "cpu_seconds" in run else None


def points(results: Iterable[Result], name: str, cost: Callable[[Run], float | None]) -> Points:
    """Return the shop's lines and the median cost of a work or a rival, for results that have it."""
    pairs = []
    for result in results:
        measured = {**result["work"], **result.get("rivals", {})}.get(name)
        value = _median(measured["runs"], cost) if measured else None
        if value:
            pairs.append((float(result["shop"]["order_items"]), value))
    return pairs


def _median(runs: Iterable[Run], cost: Callable[[Run], float | None]) -> float | None:
    values = [value for run in runs if (value := cost(run)) is not None]
    return median(values) if values else None


def plot(results: Sequence[Result]) -> str:
    """Plot the seconds of the year by lines of the shop, for lakehouse and rivals, as SVG with logarithmic axes."""
    drawn = {name: points(results, work, lambda run: run["seconds"]) for name, work in _drawn(results).items()}
    xs, ys = ([point[axis] for of in drawn.values() for point in of] for axis in (0, 1))
    x_ends, y_ends = (min(xs) / 1.2, max(xs) * 1.2), _around(min(ys), max(ys))
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + across * _share(x, x_ends), _TOP + up * (1 - _share(y, y_ends))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#374151">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for value in _ticks(y_ends):
        (x, y), end = place(x_ends[0], value), _WIDTH - _RIGHT
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{end}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for result in results:
        x, y = place(result["shop"]["order_items"], y_ends[0])
        label = f"{result['shop']['order_items'] / 1e6:.1f} M"
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">order lines of the shop; upwards, seconds</text>')
    for name, of in drawn.items():
        places = [place(*point) for point in of]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_COLOURS[name]}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{_COLOURS[name]}">{NAMES.get(name, name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(results: Iterable[Result]) -> dict[str, str]:
    """A curve of the plot: its name, and the name of its work or rival in a result."""
    rivals = {name: name for result in results for name in result.get("rivals", {})}
    return {_OURS: "year", **rivals}


def _share(value: float, ends: tuple[float, float]) -> float:
    return math.log(value / ends[0]) / math.log(ends[1] / ends[0])


def _around(low: float, high: float) -> tuple[float, float]:
    """Return the marks of an axis around two values."""
    return max(mark for mark in _MARKS if mark < low), min(mark for mark in _MARKS if mark > high)


def _ticks(ends: tuple[float, float]) -> list[float]:
    return [mark for mark in _MARKS if ends[0] <= mark <= ends[1]]
