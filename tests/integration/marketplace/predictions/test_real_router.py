"""A prediction through a real router: charged once though its process is killed, and by the rule
where it is cancelled during its answer.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketplace.inference.callers import Caller
from marketplace.predictions.models import Prediction, PredictionEvent
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.running.job import Following
from marketplace.predictions.services import Asked, prediction_create
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel, job_run_next
from tests.integration.marketplace.predictions.real_router import (
    killed,
    served_by,
    taken_over,
    usage,
)
from tests.integration.marketplace.shop import Shop

TOKENS = 60
INPUT = f'{{"messages":[{{"role":"user","content":"hello"}}],"max_tokens":{TOKENS}}}'


@pytest.fixture
def served(
    committed_shop: Shop,
    emulator_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Caller]:
    """A router before one emulated worker, and a caller with a key."""
    with served_by(committed_shop, f"{emulator_url}/{request.param}", tmp_path) as caller:
        yield caller


def ask(shop: Shop, caller: Caller) -> Prediction:
    asked = Asked(model=shop.model, version="1", input_text=INPUT, priority="standard")
    return prediction_create(caller=caller, asked_by=None, asked=asked)[0]


def killed_amid() -> None:
    """Have a process begin the prediction, and kill it while the answer comes."""
    killed("tests.integration.marketplace.predictions.job_process")


@pytest.mark.parametrize("served", ["emulated-h100-0"], indirect=True)
def test_a_prediction_whose_process_is_killed_is_answered_and_charged_once(
    committed_shop: Shop, served: Caller
) -> None:
    prediction = ask(committed_shop, served)
    killed_amid()
    taken_over()
    prediction.refresh_from_db()
    assert (prediction.state, prediction.attempts) == (JobState.SUCCEEDED, 2), prediction.error
    assert prediction.output["usage"]["completion_tokens"] == TOKENS
    (call,) = usage(1)
    assert (call.outcome, call.completion_tokens) == ("completed", TOKENS)
    assert (prediction.request_id, prediction.cost_nano) == (call.pk, call.charge_nano)
    kinds = list(PredictionEvent.objects.values_list("kind", flat=True))
    assert kinds.count("start") == 2, "whoever follows it is told that it begins anew"


# A slow one, which is far from its end when it is cancelled.
@pytest.mark.parametrize("served", ["emulated-cpu-0"], indirect=True)
def test_a_prediction_that_is_cancelled_amid_its_answer_is_billed_for_what_came(
    committed_shop: Shop, served: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = ask(committed_shop, served)
    flush = Following._flush

    def flush_and_cancel(following: Following) -> None:
        flush(following)
        job_cancel(following._prediction)

    monkeypatch.setattr(Following, "_flush", flush_and_cancel)
    job_run_next(Prediction)
    prediction.refresh_from_db()
    assert prediction.status == "canceled"
    assert prediction.output["choices"][0]["message"]["content"]
    (call,) = usage(1)
    assert call.outcome == "client_gone"
    assert 0 < call.completion_tokens < TOKENS
    assert prediction.request_id == call.pk
    received = prediction_as_json(prediction)
    assert received["metrics"]["cost"] == call.charge_nano / 1e9
    assert received["metrics"]["predict_time"] == round(call.upstream_ms / 1e3, 3)
    assert received["logs"].endswith("The call was ended.\n")
