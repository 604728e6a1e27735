"""What the platform's staff do: drain a worker, and try another policy."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

WORKER = "emulated-rtx4090-1"
MODEL = "emulated/mixtral-8x7b-instruct"
REPLAYED = 20
REPLAY_MS = 1_000 * PATIENCE_S


def test_a_worker_is_drained_and_put_back(page: Page, local_stack: LocalStack) -> None:
    page.goto(f"{local_stack.web_url}/topology")
    onlooker = page.context.new_page()
    onlooker.goto(f"{local_stack.web_url}/topology")
    for pool in ("llama-fast", "triton-batched", "emulated-h100"):
        expect(onlooker.get_by_role("heading", name=pool, exact=True)).to_be_visible()
        expect(onlooker.locator(f".flow text:has-text('{pool}')").first).to_be_visible()
    seen = onlooker.locator("li.worker", has_text=WORKER)
    expect(seen).to_contain_text("answers in progress")

    page.get_by_role("link", name=WORKER).click()
    page.get_by_label("Why").fill("a new driver")
    page.get_by_role("button", name="Drain").click()
    expect(page.get_by_role("heading", name="Put back to work")).to_be_visible()
    # Viewers see it without a reload.
    expect(seen).to_contain_text("draining")
    expect(seen).to_contain_text("empty: it can be stopped")
    expect(seen).to_contain_text("a new driver")

    page.goto(f"{local_stack.web_url}/topology/workers/{WORKER}")
    page.get_by_role("button", name="Put back to work").click()
    expect(page.get_by_role("heading", name="Drain it")).to_be_visible()
    expect(seen).not_to_contain_text("draining")


def test_a_policy_is_drafted_previewed_tried_and_rolled_back(
    page: Page, local_stack: LocalStack, customer: httpx.Client
) -> None:
    for _ in range(REPLAYED):
        message = {"role": "user", "content": "Hello"}
        body = {"model": MODEL, "messages": [message], "max_tokens": 1}
        assert customer.post("/v1/chat/completions", json=body).status_code == 200
    route = f"{local_stack.web_url}/routes/{MODEL}"
    page.goto(route)
    standing = page.get_by_text(re.compile(r"Version \d+ is in force"))
    (before,) = re.findall(r"Version (\d+) is in force", standing.inner_text())
    page.get_by_role("link", name="Edit the policy").click()
    expect(page.get_by_text("Nothing yet: it equals the version in force.")).to_be_visible()
    page.get_by_role("spinbutton", name="Wait weight").fill("2.5")
    expect(page.locator("#draft ins")).to_have_text("2.5")
    page.get_by_label("Recorded calls of").select_option("hour")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text(
        "recorded calls, simulated twice", timeout=REPLAY_MS
    )
    expect(page.locator("#preview tbody tr").first).to_be_visible()
    # The draft is still there, to be tried.
    expect(page.locator("#draft ins")).to_have_text("2.5")
    page.get_by_label("Note").fill("waits weigh less")
    page.get_by_role("button", name="Try as a canary").click()

    expect(
        page.get_by_role("heading", name=re.compile(rf"Version \d+ compared with version {before}"))
    ).to_be_visible()
    trial = page.locator("#trial")
    expect(trial).to_contain_text("Trial started")
    trial.get_by_label("Why").fill("not today")
    trial.get_by_role("button", name="Roll back now").click()
    asked = page.get_by_role("alertdialog")
    expect(asked).to_contain_text("All of its calls use the version in force")
    asked.get_by_role("button", name="Roll back now").click()
    expect(trial.locator(".badge").first).to_have_text("Rolled back")
    expect(page.get_by_text(f"Version {before} is in force")).to_be_visible()
    expect(page.get_by_role("row", name="not today")).to_be_visible()
