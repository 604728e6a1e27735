"""Predictions on the whole product: under the router's address, by real jobs and real models."""

import json
import re
import uuid
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response
from playwright.sync_api import Page, expect

from tests.embedded import wait_until
from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

CHAT = "huggingfacetb/smollm2-135m-instruct"
PIPELINE = "waypost/fraud-note"
SLOW = "emulated/gpt-j-6b"
CHEAPEST = {"sort": "price"}
"""An emulated CPU, which takes most of a minute for a long answer."""
ROW = [240, 3, 320, 4, 5, 0.4, 0, 90]


def chat(words: str, tokens: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}], "max_tokens": tokens}


def ask(client: httpx.Client, model: str, given: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/predictions", json={"model": model, "input": given}, headers=named)


def test_models_of_every_task_are_predicted_with_and_waited_for(customer: httpx.Client) -> None:
    text = ask(customer, CHAT, chat("Say hello.", 8), prefer="wait")
    assert text.status_code == 201, text.text
    said = text.json()
    assert said["status"] == "succeeded", said
    assert said["output"]["choices"][0]["message"]["content"]
    assert said["metrics"]["cost"] > 0
    scored = ask(customer, "waypost/fraud-scorer", {"FEATURES": [ROW, ROW]}, prefer="wait").json()
    assert [len(row) for row in scored["output"]["FRAUD_PROBABILITY"]] == [1, 1]
    embedded = ask(customer, "wordllama/wordllama-256", {"input": "sea"}, prefer="wait").json()
    assert len(embedded["output"]["data"][0]["embedding"]) == 256
    listed = customer.get("/v1/predictions").json()["results"]
    assert [item["id"] for item in listed[:3]] == [embedded["id"], scored["id"], said["id"]]
    refused = ask(customer, "waypost/fraud-scorer", {"FEATURES": [[*ROW[:1], 25, *ROW[2:]]]})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "input.FEATURES[0][1]"


def test_a_response_in_the_background_is_polled_and_gone_on_from(customer: httpx.Client) -> None:
    client = responding(customer)
    begun = client.responses.create(
        model="auto", input="Say hello.", background=True, max_output_tokens=8
    )
    assert (begun.status, begun.background) == ("queued", True)
    ended = over(client, begun.id)
    assert ended.status in {"completed", "incomplete"}, ended.error
    assert ended.output_text
    made = customer.get(f"/v1/predictions/{uuid.UUID(begun.id.removeprefix('resp_'))}").json()
    assert (made["model"], made["status"]) == ("auto", "succeeded")
    assert made["output"]["id"] == begun.id
    assert made["metrics"]["cost"] > 0
    asked = customer.get("/v1/generation", params={"id": made["request_id"]})
    assert asked.status_code == 200, "its call is one of the organisation's"
    later = client.responses.create(
        model=CHAT, input="And again?", previous_response_id=begun.id, max_output_tokens=4
    )
    assert later.previous_response_id == begun.id
    client.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(begun.id)


def test_a_response_in_the_background_that_runs_is_cancelled(customer: httpx.Client) -> None:
    client = responding(customer)
    begun = client.responses.create(
        model=SLOW,
        input="Tell me all of the sea.",
        background=True,
        max_output_tokens=400,
        extra_body={"provider": CHEAPEST},
    )
    wait_until(
        lambda: client.responses.retrieve(begun.id).status == "in_progress", PATIENCE_S, "it runs"
    )
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"


def responding(customer: httpx.Client) -> openai.OpenAI:
    key = customer.headers["authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{customer.base_url}/v1", api_key=key, timeout=PATIENCE_S)


def over(client: openai.OpenAI, id_: str) -> Response:
    def is_over() -> bool:
        return client.responses.retrieve(id_).status not in {"queued", "in_progress"}

    wait_until(is_over, PATIENCE_S, f"{id_} is over")
    return client.responses.retrieve(id_)


def test_a_prediction_is_followed_as_it_comes(customer: httpx.Client) -> None:
    begun = ask(customer, CHAT, chat("Count to five.", 24)).json()
    kinds, words = [], ""
    with customer.stream("GET", begun["urls"]["stream"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: ") and kinds[-1] == "output":
                choices = json.loads(line.removeprefix("data: "))["choices"]
                words += "".join(choice["delta"].get("content") or "" for choice in choices)
            elif line.startswith("data: ") and kinds[-1] == "completed":
                ended = json.loads(line.removeprefix("data: "))
    assert (kinds[0], kinds[-1]) == ("start", "completed")
    assert ended["output"]["choices"][0]["message"]["content"] == words


def test_a_prediction_that_runs_is_cancelled_from_its_page_and_billed_for_what_came(
    page: Page, local_stack: LocalStack
) -> None:
    key = {"Authorization": f"Bearer {local_stack.demo['api_key']}"}
    with httpx.Client(base_url=local_stack.router_url, headers=key, timeout=60) as client:
        asked = {"model": SLOW, "input": chat("Go on.", 1_000) | {"provider": CHEAPEST}}
        uid = client.post("/v1/predictions", json=asked).json()["id"]
        page.goto(f"{local_stack.web_url}/predictions")
        page.get_by_role("row").filter(has_text=SLOW).first.get_by_role("link").click()
        expect(page).to_have_url(re.compile(uid))
        expect(page.locator(".bubble")).not_to_be_empty()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("Cancelled", exact=True)).to_be_visible()

        def charged() -> bool:
            ended = client.get(f"/v1/predictions/{uid}").json()
            return ended["status"] == "canceled" and (ended["metrics"]["cost"] or 0) > 0

        wait_until(charged, PATIENCE_S, "what came was not charged")
        page.reload()
        page.get_by_role("link", name="Why there?").click()
        expect(page.get_by_text("Client left").first).to_be_visible()


def test_the_demos_pipeline_scores_and_says_so(page: Page, local_stack: LocalStack) -> None:
    key = {"Authorization": f"Bearer {local_stack.demo['api_key']}"}
    with httpx.Client(base_url=local_stack.router_url, headers=key, timeout=90) as client:
        assert [item["id"] for item in client.get("/v1/pipelines").json()["data"]] == [PIPELINE]
        said = ask(client, PIPELINE, {"transaction": ROW}, prefer="wait").json()
    assert said["status"] == "succeeded", said
    assert 0 <= said["output"]["probability"] <= 1
    assert said["output"]["note"]
    assert [stage["model"] for stage in said["stages"]] == ["waypost/fraud-scorer", CHAT]
    costs = [stage["metrics"]["cost"] for stage in said["stages"]]
    assert all(cost > 0 for cost in costs)
    assert said["metrics"]["cost"] == pytest.approx(sum(costs))
    page.goto(f"{local_stack.web_url}/predictions/{said['id']}")
    for stage in said["stages"]:
        row = page.get_by_role("row").filter(has_text=stage["model"])
        expect(row).to_contain_text(stage["worker"])
