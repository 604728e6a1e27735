"""What engines say of themselves."""

import pytest

from router.contracts.engines.engine_report import EngineReport, read_report

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 3.0
vllm:num_requests_running{engine="1",model_name="a } b"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a } b"} 4.0 1764460800000
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="a } b"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="a } b"} 0.5
vllm:num_preemptions_total{engine="0"} 0.0
"""
SGLANG = b"""sglang:num_running_reqs{model_name="m"} 12.0
sglang:num_queue_reqs{model_name="m"} 1.0
sglang:token_usage{model_name="m"} 0.28
"""
LLAMA_CPP = b"""# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
llamacpp:requests_deferred 5
"""


@pytest.mark.parametrize(
    ("metrics", "report"),
    [
        (VLLM, EngineReport(9.0, 0.5)),
        (SGLANG, EngineReport(13.0, 0.28)),
        (LLAMA_CPP, EngineReport(7.0)),
    ],
)
def test_requests_of_anybody_are_counted_and_the_fullest_cache(
    metrics: bytes, report: EngineReport
) -> None:
    assert read_report(metrics) == report


@pytest.mark.parametrize(
    "metrics",
    [
        b"",
        b"<html>no metrics</html>",
        b"vllm:num_requests_running",
        b"vllm:num_requests_running{} ",
        b"vllm:num_requests_running{} many",
        b"vllm:num_requests_running{} NaN",
        b"vllm:num_requests_running{} +Inf",
        b"vllm:num_requests_running{} -1",
        b"vllm:num_requests_running{} 1e300",
        b"vllm:num_requests_running{} 1\nvllm:kv_cache_usage_perc{} 7",
        b"vllm:num_requests_running_total{} 3",
        b"\xff\x00" * 100,
    ],
)
def test_what_says_nothing_sensible_is_refused(metrics: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        read_report(metrics)
