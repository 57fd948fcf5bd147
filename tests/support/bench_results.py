"""Results of the benchmark, of made-up seconds."""

from typing import Any


def run(raw: float, *, start: float = 2.0) -> dict[str, Any]:
    stage = {
        "seconds": raw,
        "work_seconds": raw / 2,
        "event_seconds": raw / 2,
        "dbt_seconds": 0.0,
        "rows": 3_000,
        "bytes": 2_500_000,
        "peak_bytes": 700_000_000,
    }
    idle = {
        **stage,
        "seconds": 0.0,
        "work_seconds": 0.0,
        "event_seconds": 0.0,
        "rows": 0,
        "bytes": 0,
        "peak_bytes": None,
    }
    return {
        "seconds": raw + start,
        "start_seconds": start,
        "event_seconds": raw / 2,
        "dbt_seconds": 0.0,
        "work_seconds": raw / 2,
        "rest_seconds": 0.0,
        "events": 1_234,
        "peak_bytes": 800_000_000,
        "postgres_peak_bytes": 90_000_000,
        "stages": {"raw": stage, "checks": idle},
    }


def result(*seconds: float) -> dict[str, Any]:
    return {
        "name": "sample-1x",
        "date": "2026-01-02",
        "commit": "abc1234",
        "machine": {"cpu": "Fast", "cores": 2, "memory_bytes": 8 * 2**30, "kernel": "Linux 6"},
        "versions": {"Python": "3.11.7", "polars": "2.1.0"},
        "settings": {"LAKEHOUSE_TIMEZONE": "UTC"},
        "copies": 1,
        "shop": {"orders": 1_000, "order_items": 10_000},
        "runs": len(seconds),
        "work": {"year": {"from": "2017-01-01", "to": "2017-12-30", "runs": [run(value) for value in seconds]}},
    }


def counted(of: dict[str, Any], *, cpu: float = 3.0, postgres: float = 1.0) -> dict[str, Any]:
    """Return a run with the measurements taken from outside."""
    return {**of, "cpu_seconds": cpu, "postgres_cpu_seconds": postgres, "proportional_peak_bytes": 600_000_000}


def rival(seconds: float, *, start: float = 0.0) -> dict[str, Any]:
    peaks = {"peak_bytes": 400_000_000, "postgres_peak_bytes": 90_000_000}
    told = {"seconds": seconds, "start_seconds": start, "stages": {"lake": seconds - start}}
    return counted({**told, **peaks}, cpu=1.0)
