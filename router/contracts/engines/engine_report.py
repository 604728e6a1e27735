"""What an LLM engine reports about itself: the gauges among its Prometheus metrics.

Reads vLLM, SGLang (``--enable-metrics``) and llama.cpp (``--metrics``). Engines with several ranks
or models have a line for each; the lines are added up.
"""

from math import isfinite, nan

from msgspec import Struct

REQUESTS = (
    b"vllm:num_requests_running",
    b"vllm:num_requests_waiting",
    b"sglang:num_running_reqs",
    b"sglang:num_queue_reqs",
    b"llamacpp:requests_processing",
    b"llamacpp:requests_deferred",
)
CACHES = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",
    b"sglang:token_usage",
    b"llamacpp:kv_cache_usage_ratio",
)
REQUESTS_MAX = 1e6
"""A larger figure is not a count of requests."""


class EngineReport(Struct, frozen=True, gc=False):
    """``requests`` run or wait there, from any client. ``kv_share`` is how much of the KV cache is
    in use (0 to 1, the fullest of several), None if not reported.
    """

    requests: float
    kv_share: float | None = None


def read_report(metrics: bytes) -> EngineReport:
    """Raises ``ValueError`` if the number of requests is missing or not valid."""
    requests: float | None = None
    kv_share: float | None = None
    for line in metrics.split(b"\n"):
        if line.startswith(REQUESTS) and _is_name(line, REQUESTS):
            requests = (requests or 0.0) + _value(line, REQUESTS_MAX)
        elif line.startswith(CACHES) and _is_name(line, CACHES):
            kv_share = max(kv_share or 0.0, _value(line, 1.0))
    if requests is None:
        raise ValueError("no count of requests among its metrics")
    return EngineReport(requests, kv_share)


def _is_name(line: bytes, names: tuple[bytes, ...]) -> bool:
    """Whether the whole name of the line's metric is among the names."""
    return any(
        line.startswith(name) and line[len(name) : len(name) + 1] in (b"{", b" ", b"\t")
        for name in names
    )


def _value(line: bytes, most: float) -> float:
    """The value after the name and its labels; a timestamp may follow."""
    behind = line.rpartition(b"}")[2] if b"{" in line else line.partition(b" ")[2]
    try:
        value = float(behind.split()[0])
    except (ValueError, IndexError):
        value = nan
    if not isfinite(value) or not 0 <= value <= most:
        raise ValueError(f"no figure from 0 to {most:g}: {line[:100].decode(errors='replace')}")
    return value
