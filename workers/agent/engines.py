"""What the agent has to know of each kind of inference server. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of server is asked.

    ``requests`` are the gauges of its Prometheus metrics whose sum is what runs or waits there;
    ``version`` is the path and the key of the JSON that has its version.
    """

    protocol: str
    ready: str
    version: tuple[str, str]
    requests: tuple[str, ...]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "vllm": Kind(
            "openai",
            "/health",
            ("/version", "version"),
            ("vllm:num_requests_running", "vllm:num_requests_waiting"),
        ),
        "sglang": Kind(
            "openai",
            "/health",
            ("/get_server_info", "version"),
            ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
        ),
        "llama_cpp": Kind(
            "openai",
            "/health",
            ("/props", "build_info"),
            ("llamacpp:requests_processing", "llamacpp:requests_deferred"),
        ),
        # Its requests that run are in no gauge: its own end waits for them.
        "triton": Kind("oip", "/v2/health/ready", ("/v2", "version"), ()),
    }
)

WARM_UPS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "chat": (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1},
        ),
        "embeddings": ("/v1/embeddings", {"input": "Hello."}),
    }
)
"""Path and body of a first inference, by task; the model's name is put in."""


def requests_running(metrics: str, kind: Kind) -> int | None:
    """How many requests a server says that it has; None where it does not say."""
    total = None
    for line in metrics.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name not in kind.requests:
            continue
        behind = line.rpartition("}")[2] if "{" in line else line.partition(" ")[2]
        try:
            value = float(behind.split()[0])
        except (ValueError, IndexError):
            return None
        if not isfinite(value) or value < 0:
            return None
        total = (total or 0) + int(value)
    return total
