"""A prediction from its beginning to its end: what is called, what is kept and what is streamed."""

import json
from typing import Any

import pytest

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.predictions.calls import conversation
from marketplace.predictions.models import Prediction
from marketplace.predictions.running.job import Following
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.services import job_claim
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of, run_one
from tests.integration.marketplace.predictions.routers import REQUEST_ID, SENTENCE, FakeRouter
from tests.integration.marketplace.shop import Shop

QUEUE_FULL = b'data: {"error": {"message": "the queue is full", "code": "queue_full"}}\n\n'


def test_a_chat_is_asked_for_runs_and_is_read(api: Api, router: FakeRouter) -> None:
    asked = api.ask()
    assert asked.status_code == 201
    begun = asked.json()
    assert (begun["status"], begun["output"], begun["error"]) == ("starting", None, None)
    assert begun["input"] == CHAT
    assert (begun["model"], begun["version"]) == ("author/slug", "1")
    assert begun["queue"] == {"of": "predictions", "position": 0, "expected_at": None}
    assert begun["urls"]["get"].endswith(f"/v1/predictions/{begun['id']}")

    run_one()

    ended = api("GET", begun["id"]).json()
    assert ended["status"] == "succeeded"
    (choice,) = ended["output"]["choices"]
    assert choice["message"]["content"] == SENTENCE
    assert ended["metrics"]["predict_time"] == 1.25
    assert ended["metrics"]["cost"] == 4.2e-6
    assert ended["metrics"]["queue_time"] >= 0.002
    assert ended["request_id"] == REQUEST_ID
    assert "worker fast-0 of the pool fast after 2 ms" in ended["logs"]
    assert ended["started_at"] <= ended["completed_at"]
    ((headers, body),) = router.calls
    assert headers["idempotency-key"] == f"prediction:{begun['id']}"
    assert headers["x-route-priority"] == "standard"
    assert headers["x-route-linger-s"] == "120"
    assert router.cancelled == []
    assert body["stream"] is True


def test_one_that_is_over_is_deleted_with_what_went_in_and_came_out(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    uid = api.ask().json()["id"]
    assert error_of(api("DELETE", uid), 409)["code"] == "prediction_not_over"
    run_one()
    owner = User.objects.create_user(email="else@example.org", password="x")
    others = Api(organisation_create(name="Other", slug="other", owner=owner))
    error_of(others("DELETE", uid), 404)
    assert api("DELETE", uid).json() == {"id": uid, "object": "prediction", "deleted": True}
    error_of(api("GET", uid), 404)


def test_a_response_is_given_the_id_of_its_prediction(api: Api, router: FakeRouter) -> None:
    asked = api.ask(model="auto", input={"input": "Hi", "background": True})
    router.refusal = 422, "so it is"
    run_one()
    ((headers, body),) = router.calls
    assert headers["x-route-response"] == asked.json()["id"]
    assert body == {"model": "auto", "input": "Hi", "background": True, "stream": False}


def test_tensors_go_in_and_come_out_by_name(shop: Shop, api: Api, router: FakeRouter) -> None:
    shop.model.task = "tabular"
    shop.model.tensors = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]}
    shop.model.save()
    asked = api.ask(input={"X": [[1, 2], [3, 4]]})
    assert asked.status_code == 201, asked.content
    run_one()
    ended = api("GET", asked.json()["id"]).json()
    assert (ended["status"], ended["output"]) == ("succeeded", {"SCORE": [[0.25], [0.75]]})
    assert ended["metrics"] | {"queue_time": 0} == {
        "predict_time": 0.04,
        "queue_time": 0,
        "cost": 9e-9,
    }


def test_embeddings_come_as_they_are(shop: Shop, api: Api, router: FakeRouter) -> None:
    shop.model.task = "embeddings"
    shop.model.save()
    asked = api.ask(input={"input": "a"})
    run_one()
    ended = api("GET", asked.json()["id"]).json()
    assert ended["output"]["data"] == [{"index": 0, "embedding": [0.5]}]


def test_what_the_router_refuses_fails_in_its_words(api: Api, router: FakeRouter) -> None:
    router.refusal = 402, "this needs more credit"
    asked = api.ask()
    run_one()
    ended = api("GET", asked.json()["id"]).json()
    assert (ended["status"], ended["error"]) == ("failed", "this needs more credit")


def test_a_stream_that_breaks_off_is_asked_for_again_under_its_key(
    api: Api, router: FakeRouter
) -> None:
    router.breaks_off = 1
    asked = api.ask()
    run_one()
    ended = api("GET", asked.json()["id"]).json()
    assert ended["output"]["choices"][0]["message"]["content"] == SENTENCE
    assert len({headers["idempotency-key"] for headers, _ in router.calls}) == 1
    assert len(router.calls) == 2


def test_one_that_waits_in_the_router_says_where_and_outlasts_a_full_queue(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "AGAIN_S", 0.0)
    router.waits = [b": queued place=3 eta_ms=1500\n\n", QUEUE_FULL]
    router.may_end.clear()
    uid = api.ask().json()["id"]
    seen: list[Any] = []
    wait = Following._wait

    def wait_and_look(following: Following, piece: conversation.Waits) -> None:
        wait(following, piece)
        seen.append(api("GET", uid).json()["queue"])
        router.may_end.set()

    monkeypatch.setattr(Following, "_wait", wait_and_look)
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], ended["queue"]) == ("succeeded", None), ended["error"]
    assert (seen[0]["of"], seen[0]["position"]) == ("router", 3)
    assert seen[0]["expected_at"] > ended["created_at"]
    assert len(router.calls) == 2


def test_an_output_beyond_the_bound_fails_and_says_so(
    api: Api, router: FakeRouter, settings: Any
) -> None:
    settings.WAYPOST_PREDICTION_OUTPUT_BYTES_MAX = 200
    asked = api.ask()
    run_one()
    ended = api("GET", asked.json()["id"]).json()
    assert ended["status"] == "failed"
    assert "longer than the 200 bytes" in ended["error"]


def test_the_stream_tells_it_as_it_came(api: Api, router: FakeRouter) -> None:
    uid = api.ask().json()["id"]
    assert api("GET", f"{uid}/stream").content == b": waiting, 0 before it\n\n"
    run_one()
    response = api("GET", f"{uid}/stream", accept="text/event-stream")
    assert response.headers["content-type"] == "text/event-stream"
    events = [
        dict(line.split(": ", 1) for line in event.splitlines())
        for event in response.content.decode().split("\n\n")[:-1]
    ]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "completed"
    output = [json.loads(event["data"]) for event in events if event["event"] == "output"]
    words = [choice["delta"].get("content", "") for item in output for choice in item["choices"]]
    assert "".join(words) == SENTENCE
    assert json.loads(events[-1]["data"])["status"] == "succeeded"
    middle = next(event["id"] for event in events if "id" in event)
    rest = api("GET", f"{uid}/stream", last_event_id=middle).content.decode()
    assert response.content.decode().endswith(rest)
    assert len(rest) < len(response.content)


def test_one_who_asks_for_many_makes_nobody_else_wait(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    owner = User.objects.create_user("o@example.com")
    other = Api(organisation_create(name="Other", slug="other", owner=owner))
    mine = [api.ask().json()["id"] for _ in range(3)]
    urgent = api.ask(priority="interactive").json()["id"]
    theirs = other.ask().json()["id"]
    claimed = [job_claim(job_kinds[Prediction]) for _ in range(5)]
    assert [str(item.uid) for item in claimed] == [urgent, theirs, *mine]
