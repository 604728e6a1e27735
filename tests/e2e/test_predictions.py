"""Predictions on the whole product: under the router's address, by real jobs and real models."""

import json
import re
from typing import Any

import httpx
import pytest
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
