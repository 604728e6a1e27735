"""What engines say of their load."""

import pytest

from workers.agent.engines import KINDS, requests_running

VLLM = """# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_running_total{engine="0"} 99
"""


def test_what_runs_and_waits_is_added_up_over_ranks() -> None:
    assert requests_running(VLLM, KINDS["vllm"]) == 6


def test_a_gauge_without_labels_counts_too() -> None:
    said = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 0 1700000000\n"
    assert requests_running(said, KINDS["llama_cpp"]) == 1


@pytest.mark.parametrize("said", ["", "llamacpp:requests_processing nan", VLLM])
def test_what_it_does_not_say_is_unknown(said: str) -> None:
    assert requests_running(said, KINDS["llama_cpp"]) is None
