"""Columns for the charts of load curves: a list a series, null where nothing was measured. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from marketplace.benchmarks.models import Point, Profile

Columns = dict[str, list[Any]]

PERCENTILES = ("p50", "p90", "p99")


def curve_columns(points: Sequence[Point]) -> Columns:
    """One benchmark: latency percentiles with their intervals, and rates, over its loads."""
    columns: Columns = {
        "x": [point.load for point in points],
        "throughput": [point.throughput_hz for point in points],
        "goodput": [point.goodput_hz for point in points],
        "tokens": [point.tokens_per_s for point in points],
        "knee": [point.load for point in points if point.is_knee],
    }
    for latency, name in (("total_ms", ""), ("ttft_ms", "ttft_")):
        for percentile in PERCENTILES:
            for end, index in (("", 0), ("_low", 1), ("_high", 2)):
                columns[f"{name}{percentile}{end}"] = [
                    _value(point, latency, percentile, index) for point in points
                ]
    return columns


def overlay_columns(curves: Sequence[Sequence[Point]]) -> Columns:
    """Several benchmarks over all their loads: ``s0``, ``s1``, … of p50, ``g0``, … of goodput."""
    loads = sorted({point.load for points in curves for point in points})
    columns: Columns = {"x": loads}
    for number, points in enumerate(curves):
        at = {point.load: point for point in points}
        for end, index in (("", 0), ("_low", 1), ("_high", 2)):
            columns[f"s{number}{end}"] = [
                _value(at.get(load), "total_ms", "p50", index) for load in loads
            ]
        columns[f"g{number}"] = [at[load].goodput_hz if load in at else None for load in loads]
    return columns


def history_columns(profiles: Iterable[Profile], deployments: Sequence[int]) -> Columns:
    """Service times over time (Unix seconds), a series ``s0``, … for each of the deployments."""
    ordered = sorted(profiles, key=lambda profile: profile.created_at)
    columns: Columns = {"x": [int(profile.created_at.timestamp()) for profile in ordered]}
    for number, deployment_id in enumerate(deployments):
        columns[f"s{number}"] = [
            profile.service_ms if profile.deployment_id == deployment_id else None
            for profile in ordered
        ]
    return columns


def _value(point: Point | None, latency: str, percentile: str, index: int) -> float | None:
    found = point.latency.get(latency, {}).get(percentile) if point else None
    return found[index] if found else None
