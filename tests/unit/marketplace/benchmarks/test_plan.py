"""Plans say what is wrong with them; bodies are synthetic, seeded and of the size asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.plan import DEFAULTS, TASKS, PlanInvalid, plan_of
from marketplace.benchmarks.samples import (
    InputsUnknown,
    library_size,
    oip_body,
    openai_body,
    tensors_of,
)

FRAUD = [{"name": "FEATURES", "datatype": "FP32", "shape": [-1, 8]}]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_plan_that_is_valid_and_survives_json(task: str) -> None:
    plan = plan_of(task, {})
    read = json.loads(json.dumps(plan.as_dict()))
    assert read.pop("task") == task
    assert plan_of(task, read) == plan
    assert task in DEFAULTS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loads": []}, "loads must be 1 to 16"),
        ({"loads": [2, 1]}, "loads must rise"),
        ({"loads": [1.5]}, "loads of offline are whole"),
        ({"loads": [0]}, "a load must be from 0.01"),
        ({"loads": "1,2"}, "loads must be a list"),
        ({"loads": [True]}, "loads must be a number"),
        ({"scenario": "burst"}, "scenario must be one of"),
        ({"scenario": "single_stream", "loads": [2]}, "single_stream has the one load 1"),
        ({"seconds_max": 601}, "seconds_max must be from 0.1 to 600"),
        ({"seconds_min": 61}, "seconds_min must be from 0.05 to 60"),
        ({"samples_min": 1.5}, "samples_min must be whole"),
        ({"percentile": float("nan")}, "percentile must be from"),
        ({"slo_ms": float("inf")}, "slo_ms must be from"),
        ({"prompt": "hello"}, "no setting is called 'prompt'"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanInvalid, match=said):
        plan_of("chat", settings)


@given(
    st.dictionaries(
        st.sampled_from(["loads", "samples_min", "slo_ms", "scenario", "rows", "x"]),
        st.sampled_from([None, True, "", "server", {}])
        | st.integers()
        | st.floats()
        | st.lists(st.floats(), max_size=3),
    )
)
def test_any_settings_give_a_plan_or_a_reason(settings: dict[str, Any]) -> None:
    try:
        plan = plan_of("tabular", settings)
    except PlanInvalid as error:
        assert str(error)  # noqa: PT017
    else:
        assert plan.loads


def test_prompts_are_seeded_and_no_two_requests_begin_alike() -> None:
    plan = plan_of("chat", {"prompt_tokens": 50, "completion_tokens": 7})
    body = openai_body(plan, "m", 9, exact=True)
    assert body == openai_body(plan, "m", 9, exact=True)
    assert body != openai_body(plan, "m", 18, exact=True)
    first, second = json.loads(body.numbered(1)), json.loads(body.numbered(2))
    assert first["max_tokens"] == 7
    assert first["ignore_eos"]
    texts = [one["messages"][0]["content"].split() for one in (first, second)]
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
