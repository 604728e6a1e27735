"""Both clients: what they send, when they send it again, and what they make of answers."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost import Retries, Routing, errors
from waypost.errors import StreamBroken
from waypost.events import Events
from waypost.retries import retry_after_s
from waypost.wire import Request

from router.domain.request import Wishes
from tests.unit.deploy.sdk.service import Service, awaiting, blocking, broken, error, events, said

Run = Callable[[Service, Callable[[Any], Any]], Any]
CHAT = {
    "model": "a/b",
    "choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
PREDICTION = {"id": "p1", "model": "a/b", "status": "processing", "metrics": {"cost": None}}
BATCH = {
    "id": "batch_1",
    "status": "in_progress",
    "endpoint": "/v1/chat/completions",
    "request_counts": {"total": 2, "completed": 1, "failed": 0},
    "lines_per_second": 3.5,
    "expected_at": 99,
    "output_file_id": None,
    "error_file_id": None,
    "errors": None,
}
COMPLETED = {**BATCH, "status": "completed", "output_file_id": "file-2"}


@pytest.fixture(params=[blocking, awaiting], ids=["blocking", "awaiting"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "none.json"))
    return request.param  # type: ignore[no-any-return]


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


# --- chat -------------------------------------------------------------------------------------


def test_a_chat_sends_what_the_router_reads_and_tells_where_it_ran(run: Run) -> None:
    headers = {"x-route-worker-pool": "h100", "x-cost-nano-usd": "1500", "x-request-id": "r1"}
    service = Service([said(200, {**CHAT, "route": {"pool": "h100"}}, **headers)])
    answer = run(
        service,
        lambda client: client.chat(
            "a/b",
            "Hi",
            max_tokens=5,
            routing=Routing(sort="price", only=["p"], deadline_ms=900),
            fallbacks=["c/d"],
            explain=True,
            tools=[],
        ),
    )
    (asked,) = service.asked
    assert json.loads(asked.content) == {
        "model": "a/b",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "provider": {"only": ["p"], "sort": "price", "deadline_ms": 900},
        "models": ["c/d"],
        "tools": [],
    }
    assert str(asked.url) == "http://router/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer wp_live_key"
    assert asked.headers["x-route-explain"] == "1"
    assert "idempotency-key" not in asked.headers
    assert (answer.text, answer.usage.total_tokens, answer.finish_reason) == ("Hello.", 3, "stop")
    assert (answer.route.pool, answer.route.cost_nano_usd) == ("h100", 1500)
    assert answer.route.explained == {"pool": "h100"}


def test_every_wish_of_the_router_can_be_told() -> None:
    assert set(Routing.__dataclass_fields__) == set(Wishes.__struct_fields__)


def test_a_stream_gives_its_pieces_then_the_usage(run: Run) -> None:
    usage = {"choices": [], "usage": CHAT["usage"]}
    service = Service([events(": queued place=1", delta("Hel"), delta("lo."), usage, "[DONE]")])
    service.answers[0] = events(delta("Hel"), delta("lo."), usage, "[DONE]")
    chunks = run(service, lambda client: client.chat_stream("a/b", "Hi"))
    assert [chunk.text for chunk in chunks] == ["Hel", "lo.", ""]
    assert chunks[-1].usage.total_tokens == 3
    body = json.loads(service.asked[0].content)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_a_stream_that_ends_too_soon_is_an_error_and_is_not_sent_again(run: Run) -> None:
    service = Service([events(delta("Hel"))])
    with pytest.raises(StreamBroken, match="before its end"):
        run(service, lambda client: client.chat_stream("a/b", "Hi"))
    assert len(service.asked) == 1


def test_an_error_inside_a_stream_is_that_error(run: Run) -> None:
    failed = {"error": {"message": "no more", "code": "credit_used_up", "param": None}}
    service = Service([events(delta("Hel"), failed)])
    with pytest.raises(errors.CreditUsedUp, match=r"402 credit_used_up: no more .*r1"):
        run(service, lambda client: client.chat_stream("a/b", "Hi"))


def test_a_stream_that_is_left_lets_go_of_its_answer() -> None:
    closed: list[bool] = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            while True:
                yield f"data: {json.dumps(delta('x'))}\n\n".encode()

        def close(self) -> None:
            closed.append(True)

    def look(client: Any) -> str:
        with client.chat_stream("a/b", "Hi") as chunks:
            return str(next(chunks).text)

    service = Service([lambda _: httpx.Response(200, stream=Endless())])
    assert blocking(service, look) == "x"
    assert closed == [True]


# --- trying again -----------------------------------------------------------------------------


def test_a_limit_is_waited_for_and_the_same_key_goes_with_every_try(run: Run) -> None:
    service = Service([error(429, "rate_limited", retry_after="0"), said(200, CHAT)])
    service.answers.insert(0, broken(httpx.ReadError))
    answer = run(service, lambda client: client.chat("a/b", "Hi", idempotency_key="once"))
    assert answer.text == "Hello."
    assert [asked.headers["idempotency-key"] for asked in service.asked] == ["once"] * 3


def test_without_a_key_a_call_that_may_have_run_is_not_sent_again(run: Run) -> None:
    service = Service([broken(httpx.ReadError)])
    with pytest.raises(errors.ConnectionBroken, match="sent, but the answer did not come"):
        run(service, lambda client: client.chat("a/b", "Hi"))
    service = Service([broken(httpx.ReadTimeout)])
    with pytest.raises(errors.TimedOut):
        run(service, lambda client: client.chat("a/b", "Hi"))


def test_what_was_not_sent_is_sent_again_until_no_more_tries_are_left(run: Run) -> None:
    service = Service([broken(httpx.ConnectError)] * 3)
    with pytest.raises(errors.Unreachable, match="nothing was sent: http://router/v1/chat"):
        run(service, lambda client: client.chat("a/b", "Hi"))
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "invalid_api_key"), errors.CredentialInvalid),
        (error(402, "insufficient_credit"), errors.CreditExhausted),
        (error(429, "rate_limited", retry_after="3600"), errors.RateLimited),
        (error(503, "no_eligible_worker"), errors.NothingEligible),
        (error(408, "deadline_exceeded", x_should_retry="false"), errors.DeadlineExceeded),
        (said(200, [1]), errors.AnswerInvalid),
        (lambda _: httpx.Response(200, content=b"<html>"), errors.AnswerInvalid),
        (lambda _: httpx.Response(302, headers={"location": "http://x"}), errors.BadRequest),
    ],
)
def test_what_will_not_do_later_is_said_at_once(
    run: Run, answer: Any, kind: type[Exception]
) -> None:
    service = Service([answer])
    with pytest.raises(kind):
        run(service, lambda client: client.chat("a/b", "Hi", idempotency_key="k"))
    assert len(service.asked) == 1


def test_a_gateway_that_cannot_reach_the_service_is_asked_again_where_that_is_safe(
    run: Run,
) -> None:
    away = [lambda _: httpx.Response(502, content=b"Bad Gateway")]
    service = Service([*away, said(200, {"data": []})])
    assert run(service, lambda client: client.models.list()) == []
    with pytest.raises(errors.ServiceFailed, match="Bad Gateway"):
        run(Service([*away]), lambda client: client.chat("a/b", "Hi"))


@given(asked=st.integers(0, 60), tries=st.integers(1, 4), jitter=st.floats(0, 1))
def test_nobody_comes_back_before_what_was_asked_nor_much_later(
    asked: int, tries: int, jitter: float
) -> None:
    policy = Retries()
    headers = {"retry-after": str(asked)}
    request = Request("POST", "/")
    pause_s = policy.after_answer(429, headers, request, is_ours=True, tries=tries, jitter=jitter)
    assert pause_s is not None
    least = max(asked, min(policy.pause_s_max, policy.pause_s * 2 ** (tries - 1)))
    assert least <= pause_s <= 1.5 * least
    assert policy.after_answer(429, headers, request, is_ours=True, tries=5, jitter=jitter) is None


def test_a_date_counts_from_the_answers_own() -> None:
    at = "Mon, 30 Nov 2026 12:00:"
    assert retry_after_s({"retry-after": f"{at}30 GMT", "date": f"{at}10 GMT"}) == 20.0
    assert retry_after_s({"retry-after": f"{at}30 GMT"}) is None
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


# --- events -----------------------------------------------------------------------------------


@given(st.data())
def test_events_are_the_same_however_their_bytes_are_cut(data: st.DataObject) -> None:
    text = "event: a\r\ndata: é1\r\ndata: 2\r\nid: 7\r\n\r\n: comment\n\ndata:x\n\n".encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    reader, found = Events(), []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += reader.feed(text[begin:end])
    assert [(one.name, one.data, one.id) for one in found] == [
        ("a", "é1\n2", "7"),
        ("message", "x", "7"),
    ]


# --- embeddings, models, the record ------------------------------------------------------------


def test_embeddings_are_in_the_order_of_their_texts(run: Run) -> None:
    packed = [base64.b64encode(struct.pack("<2f", i, 0.5)).decode() for i in range(2)]
    rows = [{"index": i, "embedding": packed[i]} for i in (1, 0)]
    service = Service([said(200, {"data": rows, "model": "e"})])
    found = run(service, lambda client: client.embed("e", ["x", "y"]))
    assert found.vectors == [[0.0, 0.5], [1.0, 0.5]]


def test_a_name_cannot_leave_its_place_in_the_path(run: Run) -> None:
    service = Service([said(200, {"id": "x"}), said(200, PREDICTION), said(200, {"data": {}})])
    run(service, lambda client: client.models.get("a/b?x=1#y"))
    run(service, lambda client: client.predictions.get("../v1/key"))
    run(service, lambda client: client.record("a&b=c"))
    assert [asked.url.raw_path for asked in service.asked] == [
        b"/v1/models/a/b%3Fx%3D1%23y",
        b"/v1/predictions/..%2Fv1%2Fkey",
        b"/v1/generation?id=a%26b%3Dc",
    ]


# --- predictions ------------------------------------------------------------------------------


def test_a_prediction_is_made_once_however_often_it_is_sent(run: Run) -> None:
    service = Service([broken(httpx.ReadError), said(201, PREDICTION)])
    made = run(service, lambda client: client.predictions.create("a/b", {"x": 1}, wait_s=5))
    first, second = service.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["prefer"] == "wait=5"
    assert json.loads(second.content) == {"input": {"x": 1}, "model": "a/b"}
    assert (made.id, made.is_over) == ("p1", False)


def test_a_prediction_is_followed_over_a_break_from_the_last_event(run: Run) -> None:
    first = 'event: start\nid: 1\ndata: {"status": "processing"}\n\n'
    chunk = json.dumps({"choices": [{"delta": {"content": "Hi"}}]})
    second = f"event: output\nid: 2\ndata: {chunk}\n\n"
    last = f"event: completed\nid: 3\ndata: {json.dumps({**PREDICTION, 'status': 'succeeded'})}\n\n"
    service = Service([events(end=first), events(end=second + last)])
    found = run(service, lambda client: client.predictions.stream("p1"))
    assert [event.kind for event in found] == ["start", "output", "completed"]
    assert found[1].text == "Hi"
    assert service.asked[1].headers["last-event-id"] == "1"


def test_a_stream_that_always_breaks_is_given_up(run: Run) -> None:
    service = Service([events(end=": nothing\n\n")] * 9)
    with pytest.raises(StreamBroken):
        run(service, lambda client: client.predictions.stream("p1"))
    assert len(service.asked) == 6


# --- files and batches ------------------------------------------------------------------------


def test_a_file_of_calls_says_its_endpoint_and_rows_need_a_model(run: Run, tmp_path: Path) -> None:
    calls, rows = tmp_path / "calls.jsonl", tmp_path / "rows.csv"
    calls.write_text('\n{"custom_id": "1", "url": "/v1/embeddings", "body": {}}\n')
    rows.write_text("id,usd\n1,2\n")
    file = {"id": "file-1", "filename": "f", "purpose": "batch", "bytes": 1, "created_at": 1}
    seen: list[int] = []
    for path, model, endpoint in (
        (calls, "", "/v1/embeddings"),
        (rows, "a/b", "/v2/models/a/b/infer"),
    ):
        service = Service([said(200, file), said(200, BATCH)])
        start = lambda client: client.batches.start(path, model=model, on_bytes=seen.append)  # noqa: B023, E731
        made = run(service, start)
        assert json.loads(service.asked[1].content)["endpoint"] == endpoint
        assert path.read_bytes() in service.asked[0].content
        assert seen[-1] == path.stat().st_size
        assert (made.total, made.completed, made.expected_at) == (2, 1, 99)
    with pytest.raises(ValueError, match="name the model"):
        run(Service([]), lambda client: client.batches.start(rows))


def test_a_batch_is_made_once_however_often_it_is_sent(run: Run) -> None:
    service = Service([broken(httpx.ReadError), said(200, BATCH)])
    made = run(service, lambda client: client.batches.create("file-1", "/v1/chat/completions"))
    first, second = service.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert made.id == BATCH["id"]


def test_a_batch_is_followed_through_an_outage_to_its_end(run: Run) -> None:
    away = [broken(httpx.ConnectError)] * 3 + [error(503, "jobs_unavailable")]
    service = Service([said(200, BATCH), *away, said(200, COMPLETED)])
    found = run(service, lambda client: client.batches.follow("batch_1", poll_s=0))
    assert [one.status for one in found] == ["in_progress", "completed"]
    assert found[-1].is_all_answered


def test_an_outage_that_does_not_end_is_told(run: Run) -> None:
    service = Service([broken(httpx.ConnectError)] * 3)
    with pytest.raises(errors.Unreachable):
        run(service, lambda client: client.batches.follow("batch_1", poll_s=0, away_s=0))


def test_a_download_is_there_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b"half"
            raise httpx.ReadError("cut")

        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield b"half"
            raise httpx.ReadError("cut")

    target = tmp_path / "out.csv"
    service = Service([lambda _: httpx.Response(200, stream=Cut())])
    with pytest.raises(errors.ConnectionBroken):
        run(service, lambda client: client.files.download("file-2", target))
    assert list(tmp_path.iterdir()) == []
    service = Service([lambda _: httpx.Response(200, content=b"whole")])
    assert run(service, lambda client: client.files.download("file-2", target)) == 5
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


# --- the management API -----------------------------------------------------------------------


def test_pages_are_read_up_to_the_limit_at_the_other_address(run: Run) -> None:
    pages = [
        said(200, {"results": [{"id": 1}, {"id": 2}], "next": "http://elsewhere/?cursor=c%3D1"}),
        said(200, {"results": [{"id": 3}], "next": None}),
    ]
    service = Service(pages)
    assert run(service, lambda client: client.benchmarks.list(limit=3)) == [
        {"id": 1},
        {"id": 2},
        {"id": 3},
    ]
    # Never where an answer points to: the key goes to the address that was given.
    assert str(service.asked[1].url) == "http://pages/api/v1/benchmarks?page_size=3&cursor=c%3D1"


def test_the_only_organisation_need_not_be_named(run: Run) -> None:
    one = said(200, {"results": [{"slug": "demo"}]})
    service = Service([one, said(200, {"totals": {}})])
    assert run(service, lambda client: client.usage.summary(by="key")) == {"totals": {}}
    assert service.asked[1].url.params["organisation"] == "demo"
    two = said(200, {"results": [{"slug": "a"}, {"slug": "b"}]})
    with pytest.raises(ValueError, match="a, b"):
        run(Service([two]), lambda client: client.usage.summary())


def test_what_is_followed_ends_with_its_state(run: Run) -> None:
    states = ["queued", "running", "done"]
    service = Service([said(200, {"id": 1, "state": state}) for state in states])
    found = run(service, lambda client: client.what_ifs.follow("1", poll_s=0))
    assert [one["state"] for one in found] == states
    service = Service([said(200, {"state": "queued"})])
    with pytest.raises(errors.TimedOut, match="queued after 0 s"):
        run(service, lambda client: client.what_ifs.follow("1", poll_s=0, until_s=0))
