"""Requests are synthetic, seeded and of the size asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.requests import (
    InputsUnknown,
    library_size,
    oip_body,
    openai_body,
    tensors_of,
)

FRAUD = [{"name": "FEATURES", "datatype": "FP32", "shape": [-1, 8]}]


def test_prompts_are_seeded_and_no_two_requests_begin_alike() -> None:
    plan = plan_of("chat", {"prompt_tokens": 50, "completion_tokens": 7})
    body = openai_body(plan, "m", 9, exact=True)
    assert body == openai_body(plan, "m", 9, exact=True)
    assert body != openai_body(plan, "m", 18, exact=True)
    first, second = json.loads(body.numbered(1)), json.loads(body.numbered(2))
    assert first["max_tokens"] == 7
    assert first["ignore_eos"]
    texts = [item["messages"][0]["content"].split() for item in (first, second)]
    assert texts[0][0] != texts[1][0]
    assert texts[0][1:] == texts[1][1:]
    assert "ignore_eos" not in json.loads(openai_body(plan, "m", 3, exact=False).content)


def test_chats_have_three_lengths_and_the_plans_on_average() -> None:
    plan = plan_of("chat", {"prompt_tokens": 400, "completion_tokens": 20})
    bodies = [json.loads(openai_body(plan, "m", n, exact=True).content) for n in range(9)]
    # Of a prompt's tokens four are its number.
    lengths = [len(body["messages"][0]["content"].split()) + 3 for body in bodies]
    assert sorted(lengths) == 3 * [100] + 3 * [300] + 3 * [800]
    assert sum(lengths) == 9 * 400
    answers = [body["max_tokens"] for body in bodies]
    assert sorted(answers) == 3 * [18] + 3 * [20] + 3 * [22]
    assert len(set(zip(lengths, answers, strict=True))) == 9


def test_tensors_have_the_rows_that_were_asked_for() -> None:
    plan = plan_of("tabular", {"rows": 5})
    (tensor,) = tensors_of(plan, FRAUD, 0)
    assert tensor.array.shape == (5, 8)
    body = oip_body(plan, "fraud_scorer", [tensor])
    length = int(dict(body.headers)["inference-header-content-length"])
    header = json.loads(body.content[:length])
    assert header["inputs"][0]["shape"] == [5, 8]
    assert body.content[length:] == tensor.array.tobytes()


def test_texts_go_as_json() -> None:
    plan = plan_of("embeddings", {"rows": 2})
    inputs = [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}]
    body = oip_body(plan, "words", tensors_of(plan, inputs, 0))
    entry = json.loads(body.content)["inputs"][0]
    assert (entry["shape"], len(entry["data"])) == ([2, 1], 2)


def test_a_model_that_does_not_say_what_it_takes_is_refused() -> None:
    plan = plan_of("tabular", {})
    with pytest.raises(InputsUnknown, match="set its inputs"):
        tensors_of(plan, [], 0)
    with pytest.raises(InputsUnknown, match="BF16"):
        tensors_of(plan, [{"name": "X", "datatype": "BF16", "shape": [1]}], 0)


@given(st.integers(0, 2**31))
def test_a_library_is_neither_endless_nor_too_small(size: int) -> None:
    assert 4 <= library_size(size) <= 256
