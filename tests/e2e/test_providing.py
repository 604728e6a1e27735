"""A provider's path: become a provider, publish a model on its own endpoint, price it, earn."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local.home import state
from tests.browser import new_context
from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

MODEL = "harbourside/words"
CHECKED_MS = MEASURED_MS = 1_000 * PATIENCE_S
SETTLED_MS = 15_000
DRAFT = {
    "Name": MODEL,
    "Display name": "Words",
    "Licence": "MIT",
    "Context, tokens": "2048",
    "Description": "Embeddings of 256 dimensions.",
    "Tensors": json.dumps(
        {
            "inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [
                {"name": "EMBEDDING", "datatype": "FP32", "shape": [-1, 256]},
                {"name": "TOKENS", "datatype": "INT32", "shape": [-1, 1]},
            ],
        }
    ),
    "Version": "1",
    "Pool": "harbourside-cpu",
    "Hardware": "two cores",
    "Engine": "Triton",
    "Region": "here",
    "Upstream model": "wordllama_256",
    "Prompt, USD per 1M tokens": "20",
}


@pytest.fixture
def provider(browser: Browser, local_stack: LocalStack) -> Iterator[Page]:
    """Somebody who signs up to sell, on a page that asks about nothing twice."""
    context = new_context(browser, locale="en", base_url=local_stack.web_url)
    page = context.new_page()
    page.goto("/signup/")
    page.get_by_label("Your name").fill("Nora Lima")
    page.get_by_label("Email").fill("nora@harbourside.example")
    page.get_by_label("Password").fill("correct-horse-battery")
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Name of the organisation").fill("Harbourside")
    page.get_by_role("button", name="Create the organisation").click()
    yield page
    context.close()


def endpoint_of(stack: LocalStack, service: str) -> str:
    """Where a real inference server of the stack listens."""
    found = state.load(stack.home)
    assert found is not None
    (address,) = (item.address for item in found.services if item.name == service)
    return f"http://{address}"


def test_a_model_is_published_measured_reviewed_and_earns(
    provider: Page, page: Page, local_stack: LocalStack, customer: httpx.Client
) -> None:
    provider.goto("/provide")
    provider.get_by_label("Slug").fill("harbourside")
    provider.get_by_label("Name", exact=True).fill("Harbourside")
    provider.get_by_role("button", name="Create provider").click()
    provider.get_by_role("button", name="New listing").click()
    provider.get_by_role("button", name="Save and submit for the check").click()
    expect(provider.get_by_text("Not submitted yet: see the marked fields.")).to_be_visible()
    provider.get_by_label("Task", exact=True).select_option("embeddings")
    for label, value in DRAFT.items():
        provider.get_by_label(label, exact=True).fill(value)
    endpoint = provider.locator(".endpoint-row").first
    endpoint.get_by_label("URL").fill(endpoint_of(local_stack, "triton-batched"))
    endpoint.get_by_label("Protocol").select_option("oip")
    endpoint.get_by_label("Slots").fill("4")
    provider.get_by_role("button", name="Save and submit for the check").click()

    # The page follows by itself what the jobs find.
    expect(provider.get_by_text("The check has passed.")).to_be_visible(timeout=CHECKED_MS)
    expect(provider.locator("table.checks .badge-rail").first).to_be_visible()
    expect(provider.locator("table.checks .badge-danger")).to_have_count(0)
    provider.get_by_role("button", name="Measure").click()
    listing = provider.url
    # In the meantime, check the prices of the other provider.
    price_from_tomorrow(page, local_stack)
    expect(provider.get_by_text("Measured. Request review")).to_be_visible(timeout=MEASURED_MS)
    assert provider.url == listing
    provider.get_by_role("button", name="Request review").click()
    expect(provider.get_by_text("Staff are reviewing it.")).to_be_visible()

    page.goto(f"{local_stack.web_url}/reviews")
    page.get_by_role("row", name=MODEL).get_by_role("link", name="See details").click()
    page.get_by_role("button", name="Approve: go live").click()
    expect(page.get_by_text("Customers can call it.")).to_be_visible()
    page.goto(f"{local_stack.web_url}/models?q=words")
    expect(page.get_by_role("link", name="Words", exact=True)).to_be_visible()

    answer = customer.post("/v1/embeddings", json={"model": MODEL, "input": "a word or two"})
    assert answer.status_code == 200, answer.text
    earned = provider.get_by_role("row", name=MODEL)
    for _ in range(SETTLED_MS // 250):
        provider.goto("/earnings")
        if earned.count():
            break
        provider.wait_for_timeout(250)
    expect(earned).to_contain_text("$0.0")


def price_from_tomorrow(page: Page, stack: LocalStack) -> None:
    """Of something on sale already: announce a price, and take it back."""
    page.goto(f"{stack.web_url}/provide")
    sold = page.get_by_role("row", name="emulated/resnet-50").filter(has_text="emulated-cpu")
    sold.get_by_role("link", name="Price").click()
    meaning = page.locator("#meaning")
    expect(meaning).to_contain_text("Customers pay as much as now.")
    by_row = page.get_by_label("USD per row")
    by_row.fill(f"{2 * float(by_row.input_value()):.9f}")
    expect(meaning).to_contain_text("Customers pay 100.0 % more than now")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    page.get_by_label("In force from, UTC").fill(f"{tomorrow:%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Publish this price").click()
    announced = page.get_by_role("row", name=f"upcoming {tomorrow:%Y-%m-%d %H:%M}")
    expect(announced).to_be_visible()
    expect(page.locator("tbody").get_by_text("In force", exact=True)).to_have_count(1)
    announced.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("never in force", exact=True).first).to_be_visible()
