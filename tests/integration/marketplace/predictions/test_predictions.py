"""Predictions over the API: asked for, read, listed, cancelled, repeated, refused."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import Deployment, DeploymentStatus, ModelVersion
from marketplace.catalog.services import provider_create
from marketplace.inference.callers import Caller
from marketplace.inference.idempotency import LOCK_SPACE, key_number
from marketplace.predictions import services
from marketplace.predictions.calls import conversation
from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.running import job as running
from marketplace.predictions.running.job import Following
from marketplace.predictions.services import (
    prediction_cancel,
    predictions_abort,
    predictions_forget,
)
from marketplace.predictions.tasks import abort, forget
from marketplace.presets.selectors import presets_of
from marketplace.presets.services import preset_retire, preset_save
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel, job_claim, job_run_next
from marketplace.webhooks.models import Delivery
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of, run_one
from tests.integration.marketplace.predictions.routers import REQUEST_ID, FakeRouter, fake_router
from tests.integration.marketplace.shop import Shop

SENTENCE = "The sea is wide"
QUEUE_FULL = b'data: {"error": {"message": "the queue is full", "code": "queue_full"}}\n\n'


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    with fake_router() as found:
        yield found


@pytest.fixture
def api(shop: Shop, db: None) -> Api:
    return Api(shop.organisation)


# --- from its beginning to its end ----------------------------------------------------------------


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


def preset(shop: Shop, **says: Any) -> None:
    preset_save(organisation=shop.organisation, name="brief", **says)


@pytest.mark.parametrize("name", ["auto", "author/slug:floor", "author/slug@preset/brief"])
def test_a_name_that_stands_for_a_model_is_given_to_the_router(
    shop: Shop, api: Api, router: FakeRouter, name: str
) -> None:
    preset(shop, system="Be brief.")
    begun = api.ask(model=name).json()
    assert (begun["model"], begun["version"]) == (name, "")
    run_one()
    ended = api("GET", begun["id"]).json()
    assert ended["status"] == "succeeded", ended["error"]
    ((_headers, body),) = router.calls
    assert body["model"] == name
    listed = api("GET").json()["results"]
    assert [row["model"] for row in listed] == [name]


def test_a_preset_that_nobody_has_is_told_when_it_is_asked_and_when_it_is_called(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    asked = {"model": "@preset/brief"}
    error = error_of(api.ask(**asked), 404)
    assert (error["code"], error["param"]) == ("preset_not_found", "model")
    preset(shop, system="Be brief.")
    assert error_of(api.ask(**asked), 422)["code"] == "invalid_model"
    preset(shop, model="author/slug")
    uid = api.ask(**asked).json()["id"]
    preset_retire(preset=presets_of(shop.organisation.pk)["brief"])
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], router.calls) == ("failed", [])
    assert "has no preset 'brief'" in ended["error"]
    error = error_of(api.ask(model="auto", version="auto/x:2"), 422)
    assert error["param"] == "version"


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


def test_a_webhook_is_told_what_its_filter_names(api: Api, router: FakeRouter) -> None:
    url = "https://hooks.example.com/waypost"
    quiet = api.ask(webhook=url)
    assert quiet.status_code == 201, quiet.content
    every = ["start", "output", "logs", "completed"]
    loud = api.ask(webhook=url, webhook_events_filter=every)
    silent = api.ask()
    for _ in range(3):
        run_one()
    received: dict[str, list[tuple[str, Any]]] = {}
    for delivery in Delivery.objects.order_by("pk"):
        event = json.loads(delivery.body)
        assert event["type"] == delivery.event_type
        received.setdefault(event["data"]["id"], []).append((delivery.event_type, event["data"]))
    assert [kind for kind, _ in received[quiet.json()["id"]]] == [
        "prediction.start",
        "prediction.completed",
    ]
    assert {kind for kind, _ in received[loud.json()["id"]]} == {
        f"prediction.{item}" for item in every
    }
    last = received[loud.json()["id"]][-1][1]
    assert (last["status"], last["output"]["choices"][0]["message"]["content"]) == (
        "succeeded",
        SENTENCE,
    )
    assert last["completed_at"]
    assert silent.json()["id"] not in received


def test_a_webhook_gets_no_data_that_is_too_large(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WEBHOOK_BYTES_MAX", 10)
    api.ask(webhook="https://hooks.example.com/waypost")
    run_one()
    last = json.loads(Delivery.objects.order_by("pk").last().body)  # type: ignore[union-attr]
    assert (last["type"], last["data"]["output"]) == ("prediction.completed", None)


# --- cancelled, too late, forgotten ---------------------------------------------------------------


def test_one_that_waits_is_cancelled_at_once_and_only_once(api: Api) -> None:
    uid = api.ask().json()["id"]
    cancelled = api("POST", f"{uid}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
    assert error_of(api("POST", f"{uid}/cancel"), 409)["code"] == "prediction_over"
    assert api("GET", f"{uid}/stream").content.startswith(b"event: completed")
    assert job_run_next(Prediction) is None


def test_one_that_is_cancelled_by_two_at_once_is_over_once(api: Api) -> None:
    uid = api.ask(webhook="https://hooks.example.com/waypost").json()["id"]
    first, second = (Prediction.objects.get(uid=uid) for _ in range(2))
    assert prediction_cancel(prediction=first)
    assert not prediction_cancel(prediction=second)
    assert second.state == JobState.CANCELLED
    assert list(second.events.values_list("kind", flat=True)) == [Event.COMPLETED]
    assert Delivery.objects.count() == 1


def test_one_that_ends_while_it_is_cancelled_keeps_its_end(api: Api, router: FakeRouter) -> None:
    uid = api.ask().json()["id"]
    seen = Prediction.objects.get(uid=uid)
    run_one()
    assert not prediction_cancel(prediction=seen)
    assert seen.state == JobState.SUCCEEDED
    assert seen.events.filter(kind=Event.COMPLETED).count() == 1


def test_one_that_runs_may_be_cancelled_twice(api: Api) -> None:
    uid = api.ask().json()["id"]
    job_claim(job_kinds[Prediction])
    asked = Prediction.objects.get(uid=uid)
    assert prediction_cancel(prediction=asked)
    assert prediction_cancel(prediction=asked)
    assert asked.state == JobState.RUNNING
    assert not asked.events.exists()


def test_one_that_runs_hangs_up_on_the_router_and_keeps_what_came(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.may_end.clear()
    uid = api.ask().json()["id"]
    flush = Following._flush

    def flush_and_cancel(following: Following) -> None:
        flush(following)
        job_cancel(following._prediction)

    monkeypatch.setattr(Following, "_flush", flush_and_cancel)
    run_one()
    ended = api("GET", uid).json()
    assert ended["status"] == "canceled"
    assert ended["output"]["choices"][0]["message"]["content"] == "The sea is "
    assert (router.left, router.cancelled) == (1, [f"prediction:{uid}"])


def test_a_deadline_that_passes_while_it_waits_aborts_it_unbilled(
    api: Api, router: FakeRouter
) -> None:
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="5s").json()["id"]
    assert abort() == 0
    assert predictions_abort(timezone.now() + timedelta(seconds=6)) == 1
    ended = api("GET", uid).json()
    assert (ended["status"], ended["metrics"]["cost"]) == ("aborted", None)
    assert router.calls == []


def test_a_deadline_that_passed_is_seen_where_it_would_start(api: Api, router: FakeRouter) -> None:
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="5s").json()["id"]
    Prediction.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    run_one()
    assert api("GET", uid).json()["status"] == "aborted"
    assert router.calls == []


def test_a_deadline_that_passes_while_it_runs_ends_it(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.may_end.clear()
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="1m").json()["id"]
    left = running.left_s
    monkeypatch.setattr(running, "left_s", lambda one: 0.0 if router.calls else left(one))
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], ended["metrics"]["predict_time"]) == ("canceled", None)
    assert "deadline" in ended["logs"]
    assert router.cancelled == [f"prediction:{uid}"]


def test_what_is_over_is_forgotten_in_time(api: Api, settings: Any) -> None:
    uid = api.ask().json()["id"]
    api.ask()
    api("POST", f"{uid}/cancel")
    assert forget() == 0
    later = timezone.now() + timedelta(hours=settings.WAYPOST_PREDICTION_KEPT_HOURS, seconds=1)
    assert predictions_forget(later) == 1
    error_of(api("GET", uid), 404)
    assert Prediction.objects.get().state == JobState.QUEUED


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


# --- asked twice ----------------------------------------------------------------------------------


def test_the_same_request_under_one_key_is_one_prediction(api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    first = api("POST", body=body, idempotency_key="k")
    again = api("POST", body=body, idempotency_key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = api("POST", body=body | {"priority": "batch"}, idempotency_key="k")
    assert error_of(other, 422)["code"] == "idempotency_mismatch"
    assert Prediction.objects.count() == 1


def test_while_the_first_is_being_taken_the_second_is_told_to_wait(
    shop: Shop, api: Api, by_admin: psycopg.Connection
) -> None:
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, key_id=api.key_id)
    lock = [LOCK_SPACE, key_number(Prediction, caller, "k")]
    by_admin.execute("SELECT pg_advisory_lock(%s, %s)", lock)
    refused = api("POST", body={"model": "author/slug", "input": CHAT}, idempotency_key="k")
    assert error_of(refused, 409)["code"] == "idempotency_in_flight"
    assert int(refused.headers["Retry-After"]) >= 1
    by_admin.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    taken = api("POST", body={"model": "author/slug", "input": CHAT}, idempotency_key="k")
    assert taken.status_code == 201


def test_a_key_is_its_callers_own(shop: Shop, api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    api("POST", body=body, idempotency_key="k")
    Api(shop.organisation)("POST", body=body, idempotency_key="k")
    assert Prediction.objects.count() == 2


def test_a_key_may_be_used_again_after_a_day(api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    api("POST", body=body, idempotency_key="k")
    predictions_forget(timezone.now() + timedelta(hours=25))
    api("POST", body=body, idempotency_key="k")
    assert Prediction.objects.count() == 2


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status", "param"),
    [
        ("{", {}, 422, None),
        ("[]", {}, 422, None),
        ({"input": CHAT}, {}, 422, "model"),
        ({"model": "no/such", "input": CHAT}, {}, 404, "model"),
        ({"version": "author/slug:2", "input": CHAT}, {}, 404, "version"),
        ({"version": "1", "input": CHAT}, {}, 422, "version"),
        ({"model": "author/slug", "version": "other/slug:1", "input": CHAT}, {}, 422, "version"),
        ({"model": "author/slug"}, {}, 422, "input"),
        ({"model": "author/slug", "input": "Hi"}, {}, 422, "input"),
        ({"model": "author/slug", "input": {}}, {}, 422, "input.messages"),
        ({"model": "author/slug", "input": CHAT, "priority": "now"}, {}, 422, "priority"),
        (
            {"model": "author/slug", "input": CHAT, "webhook_events_filter": ["end"]},
            {},
            422,
            "webhook_events_filter",
        ),
        (
            {"model": "author/slug", "input": CHAT, "webhook": "http://a.example"},
            {},
            422,
            "webhook",
        ),
        (
            {"model": "author/slug", "input": CHAT, "webhook": "https://127.0.0.1/"},
            {},
            422,
            "webhook",
        ),
        ({"model": "author/slug", "input": CHAT}, {"prefer": "wait=99"}, 422, "Prefer"),
        ({"model": "author/slug", "input": CHAT}, {"cancel_after": "1s"}, 422, "Cancel-After"),
        (
            {"model": "author/slug", "input": CHAT},
            {"idempotency_key": "k" * 256},
            422,
            "Idempotency-Key",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    api: Api, body: Any, headers: dict[str, str], status: int, param: str | None
) -> None:
    assert error_of(api("POST", body=body, **headers), status)["param"] == param
    assert not Prediction.objects.exists()


@pytest.mark.parametrize(
    ("version", "model"), [("author/slug:1", ""), ("1", "author/slug"), ("author/slug", "")]
)
def test_a_version_names_its_model_or_stands_beside_it(api: Api, version: str, model: str) -> None:
    body = {"version": version, "input": CHAT} | ({"model": model} if model else {})
    assert api("POST", body=body).json()["version"] == "1"


def served(shop: Shop, version: str) -> Deployment:
    """The model in another version, of another provider."""
    return Deployment.objects.create(
        version=ModelVersion.objects.create(model=shop.model, version=version),
        provider=provider_create(slug=f"of-{version}", name=f"Of {version}"),
        pool=shop.deployment.pool,
        upstream_model="slug",
    )


@pytest.mark.parametrize("wishes", [{}, {"version": "1"}])
def test_a_version_that_comes_later_fails_none_that_waits(
    shop: Shop, api: Api, router: FakeRouter, wishes: dict[str, str]
) -> None:
    asked = api.ask(**wishes).json()
    served(shop, "2")
    run_one()
    ended = api("GET", asked["id"]).json()
    assert (ended["status"], ended["version"]) == ("succeeded", "1"), ended["error"]


def test_one_that_asked_for_no_version_is_answered_by_whichever_is_left(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    uid = api.ask().json()["id"]
    served(shop, "2")
    Deployment.objects.filter(version__version="1").update(status=DeploymentStatus.RETIRED)
    run_one()
    assert api("GET", uid).json()["status"] == "succeeded"


def test_a_version_that_was_asked_for_and_is_gone_is_told(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    uid = api.ask(version="1").json()["id"]
    served(shop, "2")
    Deployment.objects.filter(version__version="1").update(status=DeploymentStatus.RETIRED)
    run_one()
    ended = api("GET", uid).json()
    assert ended["status"] == "failed"
    assert ended["error"] == "Version 1 is not served any more, only 2."
    assert not router.calls
    assert error_of(api.ask(version="1"), 404)["param"] == "version"


def test_each_version_that_is_served_may_be_asked_for(shop: Shop, api: Api) -> None:
    served(shop, "2")
    assert api.ask().json()["version"] == "2"
    for version in ("1", "2"):
        assert api.ask(version=version).json()["version"] == version


def test_no_more_than_so_many_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "WAITING_MAX", 2)
    api.ask()
    api.ask()
    refused = api.ask()
    assert error_of(refused, 429)["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_organisations_prediction_is_not_there(api: Api, method: str) -> None:
    uid = api.ask().json()["id"]
    other = organisation_create(
        name="Other", slug="other", owner=User.objects.create_user("o@example.com")
    )
    path = {"GET": ["", "/stream"], "POST": ["/cancel"]}[method]
    for end in path:
        error_of(Api(other)(method, uid + end), 404)
    assert Api(other)("GET").json()["results"] == []


@pytest.mark.parametrize("uid", ["x", "00000000-0000-0000-0000-000000000000", "%00"])
def test_an_invalid_id_is_not_found(api: Api, uid: str) -> None:
    response = api("GET", uid)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


def test_a_stranger_is_not_let_in(db: None) -> None:
    for path in ("/v1/predictions", f"/v1/predictions/{uuid.uuid4()}"):
        error_of(Client().get(path), 401)


def test_a_list_has_pages_the_newest_first(api: Api) -> None:
    ids = [api.ask().json()["id"] for _ in range(3)]
    first = api("GET", "/v1/predictions?page_size=2").json()
    assert [result["id"] for result in first["results"]] == [ids[2], ids[1]]
    assert "input" not in first["results"][0]
    path = first["next"].partition("testserver")[2]
    second = api("GET", path).json()
    assert [result["id"] for result in second["results"]] == [ids[0]]
    assert second["next"] is None
    error_of(api("GET", "/v1/predictions?cursor=oops"), 404)
