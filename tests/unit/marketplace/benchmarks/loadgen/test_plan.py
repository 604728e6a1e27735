"""Plans say what is wrong with them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.loadgen.plan import (
    DEFAULTS,
    LOAD_MAX,
    TASKS,
    PlanInvalid,
    over_workers,
    plan_of,
)


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


def test_requests_at_once_are_for_each_worker_and_rates_are_not() -> None:
    assert over_workers(plan_of("vision", {}), 8).loads == (1, 8, 16, 32, 64)
    assert over_workers(plan_of("vision", {}), 1) == plan_of("vision", {})
    assert over_workers(plan_of("vision", {}), 2_000).loads == (1, 2_000, 4_000, LOAD_MAX)
    for scenario in ("server", "single_stream"):
        plan = plan_of("vision", {"scenario": scenario})
        assert over_workers(plan, 8) == plan


def test_an_offline_point_has_enough_requests_to_be_of_its_load() -> None:
    plan = plan_of("image", {})
    assert [plan.samples_at(load) for load in (1, 4, 32)] == [16, 16, 64]
    assert plan_of("image", {"scenario": "server"}).samples_at(32) == 16


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
