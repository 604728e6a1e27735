"""A pipeline through a real router: each stage charged once though its process is killed, and
nothing after a stage that fails.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketplace.catalog.models import AIModel
from marketplace.inference.callers import Caller
from marketplace.pipelines.services import pipeline_apply
from marketplace.predictions.models import Prediction
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.services import Asked, prediction_create
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.predictions.real_router import (
    killed,
    served_by,
    taken_over,
    usage,
)
from tests.integration.marketplace.shop import Shop

TOKENS = 8


@pytest.fixture
def served(committed_shop: Shop, emulator_url: str, tmp_path: Path) -> Iterator[Caller]:
    worker_url = f"{emulator_url}/emulated-h100-0"
    with served_by(committed_shop, worker_url, tmp_path) as caller:
        yield caller


def chat(name: str, path: str, model: str = "author/slug") -> dict[str, Any]:
    message = {"role": "user", "content": {"$from": path}}
    return {"name": name, "model": model, "input": {"messages": [message], "max_tokens": TOKENS}}


def ask(caller: Caller, *stages: dict[str, Any]) -> Prediction:
    body = {"name": "acme/line", "stages": stages, "output": {"$from": stages[-1]["name"]}}
    pipeline, _ = pipeline_apply(text=json.dumps(body).encode(), organisation=None)
    asked = Asked(
        model=None, pipeline=pipeline, version="1", input_text='"hello"', priority="standard"
    )
    return prediction_create(caller=caller, asked_by=None, asked=asked)[0]


@pytest.mark.parametrize("where", ["between", "answered"])
def test_a_killed_process_charges_each_stage_once(served: Caller, where: str) -> None:
    prediction = ask(
        served, chat("first", "input"), chat("second", "first.choices[0].message.content")
    )
    killed("tests.integration.marketplace.pipelines.job_process", where)
    taken_over()
    prediction.refresh_from_db()
    received = prediction_as_json(prediction)
    assert (received["status"], prediction.attempts) == ("succeeded", 2), received["error"]
    assert received["output"]["usage"]["completion_tokens"] == TOKENS
    calls = usage(2)
    assert [call.completion_tokens for call in calls] == [TOKENS] * 2
    assert [stage["request_id"] for stage in received["stages"]] == [str(call.pk) for call in calls]
    assert [stage["worker"] for stage in received["stages"]] == ["fast-0"] * 2
    assert received["metrics"]["cost"] == sum(call.charge_nano for call in calls) / 1e9
    assert ("was answered before" in received["logs"]) is (where == "between")


def test_nothing_runs_after_a_stage_that_fails(served: Caller) -> None:
    AIModel.objects.create(name="author/none", display_name="None", task="chat")
    text = "first.choices[0].message.content"
    prediction = ask(
        served, chat("first", "input"), chat("second", text, "author/none"), chat("third", text)
    )
    job_run_next(Prediction)
    prediction.refresh_from_db()
    received = prediction_as_json(prediction)
    assert received["status"] == "failed"
    assert received["error"].startswith("Stage second: ")
    assert "author/none" in received["error"]
    first, second = received["stages"]
    assert (first["status"], second["status"]) == ("succeeded", "failed")
    assert first["output"]["usage"]["completion_tokens"] == TOKENS
    (call,) = usage(1)
    assert received["metrics"]["cost"] == first["metrics"]["cost"] == call.charge_nano / 1e9
