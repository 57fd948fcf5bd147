"""Compute the numbers of a run from observations: by stage, and by kind of time. Pure functions.

The seconds of a run are divided into parts that add up: the start until the first step, storing Dagster's events, dbt's
own start and end, the work of the stages, and the rest (between the steps, and after the last). Concurrent steps share
the time equally.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Span = tuple[float, float]


@dataclass(frozen=True)
class DbtInvocation:
    """One `dbt build`, from its run_results.json.

    Attributes:
        started: Start of dbt, in seconds since the epoch.
        working: Span from its first model to the end of its last test.
        rows: Number of rows that its models wrote.
        relations: The tables that it built, as `schema.name`.
    """

    started: float
    working: Span
    rows: int
    relations: frozenset[str]


@dataclass(frozen=True)
class Observed:
    """The observations of a run.

    Attributes:
        span: Start and end of its process, in seconds since the epoch.
        events: Dagster's events, as `bench.observed` writes them.
        stages: Stage of each step.
        dbt: Its invocations of dbt.
        memory: Instants, and the bytes that the run's processes held.
        postgres_memory: The same for the embedded server's processes.
        lake_bytes: Bytes of the files that it added to the lake, by layer.
        table_bytes: Growth in bytes of the warehouse's tables and their indexes, by `schema.name`.
    """

    span: Span
    events: Sequence[Sequence[Any]]
    stages: Mapping[str, str]
    dbt: Sequence[DbtInvocation] = ()
    memory: Sequence[tuple[float, int]] = ()
    postgres_memory: Sequence[tuple[float, int]] = ()
    lake_bytes: Mapping[str, int] = field(default_factory=dict)
    table_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Stage:
    """Numbers of a stage; `seconds` is its steps' share of the time, and the sum of the three parts."""

    seconds: float = 0.0
    work_seconds: float = 0.0
    event_seconds: float = 0.0
    dbt_seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    peak_bytes: int | None = None


# Stage that writes each layer: steps of cleansed write quarantine, and the step of the marts loads the copies.
_STAGE_OF_LAYER = {"quarantine": "cleansed"}
_STAGE_OF_SCHEMA = {"lake": "marts"}


def numbers(observed: Observed) -> dict[str, Any]:
    """Return the numbers of a run, for JSON.

    Args:
        observed: The observations of the run.

    Returns:
        seconds, and the parts that add up to it: start_seconds, event_seconds, dbt_seconds, work_seconds,
        rest_seconds; events (their number), peak_bytes, postgres_peak_bytes, and `stages`, in the order of the
        definitions: name to the fields of `Stage`.
    """
    steps = _steps(observed.events)
    started, ended = observed.span
    first = min((start for start, _ in steps.values()), default=ended)
    invocations = {
        step: invocation
        for step, span in steps.items()
        for invocation in observed.dbt
        if _within(invocation.started, span)
    }
    shares = _shares(steps, observed.events, {step: one.working for step, one in invocations.items()})
    stages = _by_stage(observed, steps, shares, invocations)
    seconds = ended - started
    before = sum(_overlap((instant, instant + took), (started, first)) for instant, took, *_ in observed.events)
    parts = {
        "start_seconds": first - started - before,
        "event_seconds": sum(share for (_, part), share in shares.items() if part == "event"),
        "dbt_seconds": sum(stage.dbt_seconds for stage in stages.values()),
        "work_seconds": sum(stage.work_seconds for stage in stages.values()),
    }
    return {
        "seconds": seconds,
        **parts,
        "rest_seconds": seconds - sum(parts.values()),
        "events": len(observed.events),
        "peak_bytes": _peak(observed.memory, [observed.span]),
        "postgres_peak_bytes": _peak(observed.postgres_memory, [observed.span]),
        "stages": {name: asdict(stage) for name, stage in stages.items()},
    }


def _steps(events: Iterable[Sequence[Any]]) -> dict[str, Span]:
    """Return start and end of each step. STEP_SUCCESS is stored at the end of the step and has its duration."""
    return {
        step: (instant - took, instant) for instant, _, kind, step, took, _ in events if kind == "STEP_SUCCESS" and step
    }


def _shares(
    steps: Mapping[str, Span], events: Iterable[Sequence[Any]], working: Mapping[str, Span]
) -> dict[tuple[str, str], float]:
    """Return seconds by step and part (event, dbt, work); events that are stored outside of steps have no step ("").

    Args:
        steps: Start and end of each step.
        events: Dagster's events.
        working: Start and end of the dbt of a step; storing events then costs nothing, because the step waits for dbt.
    """
    edges = [(at, by, "step", step) for step, span in steps.items() for at, by in zip(span, (1, -1), strict=True)]
    for instant, took, _, step, *_ in events:
        edges += [(instant, 1, "event", step or ""), (instant + took, -1, "event", step or "")]
    for step, span in working.items():
        edges += [(at, by, "dbt", step) for at, by in zip(span, (1, -1), strict=True)]
    shares: dict[tuple[str, str], float] = defaultdict(float)
    open_: Counter[tuple[str, str]] = Counter()
    at_work: set[str] = set()
    since = 0.0
    for at, by, edge_kind, step in sorted(edges):
        for active in at_work:
            is_storing = open_["event", active] > 0
            if active in working:
                part = "work" if open_["dbt", active] else "event" if is_storing else "dbt"
            else:
                part = "event" if is_storing else "work"
            shares[active, part] += (at - since) / len(at_work)
        if not at_work and any(number > 0 for (kind, _), number in open_.items() if kind == "event"):
            shares["", "event"] += at - since
        since = at
        open_[edge_kind, step] += by
        if edge_kind == "step":
            (at_work.add if by > 0 else at_work.discard)(step)
    return shares


def _by_stage(
    observed: Observed,
    steps: Mapping[str, Span],
    shares: Mapping[tuple[str, str], float],
    invocations: Mapping[str, DbtInvocation],
) -> dict[str, Stage]:
    stages = {name: Stage() for name in dict.fromkeys(observed.stages.values())}
    spans: dict[str, list[Span]] = {name: [] for name in stages}
    stage_of_relation: dict[str, str] = {}
    for step, span in steps.items():
        name = observed.stages[step]
        stage = stages[name]
        event, dbt, work = (shares.get((step, part), 0.0) for part in ("event", "dbt", "work"))
        stage.seconds += event + dbt + work
        stage.event_seconds += event
        stage.dbt_seconds += dbt
        stage.work_seconds += work
        spans[name].append(span)
        if step in invocations:
            stage.rows += invocations[step].rows
            stage_of_relation |= dict.fromkeys(invocations[step].relations, name)
    for _, _, _, step, _, rows in observed.events:
        if step in steps:
            stages[observed.stages[step]].rows += rows
    for layer, size in observed.lake_bytes.items():
        stages[_STAGE_OF_LAYER.get(layer, layer)].bytes += size
    for relation, size in observed.table_bytes.items():
        name = stage_of_relation.get(relation) or _STAGE_OF_SCHEMA[relation.split(".")[0]]
        stages[name].bytes += size
    for name, stage in stages.items():
        stage.peak_bytes = _peak(observed.memory, spans[name])
    return stages


def _overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _peak(samples: Iterable[tuple[float, int]], spans: Sequence[Span]) -> int | None:
    """Return the highest sample within any of the spans; None without samples."""
    return max((size for instant, size in samples if any(_within(instant, span) for span in spans)), default=None)


def _within(instant: float, span: Span) -> bool:
    return span[0] <= instant <= span[1]
