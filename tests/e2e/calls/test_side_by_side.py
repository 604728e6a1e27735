"""Chats side by side, forms out of a model's schema, and the drawer of the usage page."""

import json
import struct
import zlib
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

CHAT_MODEL = "huggingfacetb/smollm2-135m-instruct"
ANSWER_TIMEOUT_MS = 1_000 * PATIENCE_S


def playground(page: Page, stack: LocalStack, model: str) -> None:
    page.goto(f"{stack.web_url}/models/{model}?tab=playground")


def lanes(page: Page) -> tuple[Locator, Locator]:
    found = page.locator(".lane")
    return found.nth(0), found.nth(1)


def test_two_models_answer_one_prompt_and_one_is_stopped(
    page: Page, local_stack: LocalStack
) -> None:
    playground(page, local_stack, CHAT_MODEL)
    page.get_by_role("button", name="Compare side by side").click()
    first, second = lanes(page)
    second.get_by_label("Model").select_option("emulated/gpt-j-6b")
    page.get_by_label("At most").fill("800")
    # Without chance the story always has 800 tokens; a short one would end before it is stopped.
    page.get_by_text("System prompt and parameters").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Your message").fill("Tell a very long story about a railway yard.")
    for lane in (first, second):
        expect(lane.locator("[data-quote]")).to_contain_text("at most 800 out")
        expect(lane.locator("[data-quote]")).to_contain_text("$0.0")
    page.get_by_label("Your message").press("Control+Enter")

    expect(first.locator(".bubble").last).not_to_be_empty(timeout=ANSWER_TIMEOUT_MS)
    first.get_by_role("button", name="Stop").click()
    expect(first.locator("[data-stopped]")).to_be_visible()
    # The other runs to its end, with figures of its own.
    expect(second.locator("[data-figures]")).to_contain_text("tok", timeout=ANSWER_TIMEOUT_MS)
    expect(second.locator("[data-stopped]")).to_be_hidden()
    reports = page.locator("[data-reports] [data-report]")
    expect(reports.nth(1)).to_contain_text("emulated-")
    expect(reports.nth(1)).to_contain_text("was chosen out of")
    expect(page.get_by_label("Your message")).to_be_focused()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()

    page.reload()
    first, second = lanes(page)
    expect(second.locator(".bubble")).to_have_count(2)
    expect(second.get_by_label("Model")).to_have_value("emulated/gpt-j-6b")


def test_one_provider_of_a_model_can_be_asked(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, CHAT_MODEL)
    page.get_by_role("button", name="Compare side by side").click()
    first, second = lanes(page)
    second.get_by_label("Model").select_option(CHAT_MODEL)
    first.get_by_label("Provider").select_option("northyard")
    second.get_by_label("Provider").select_option("lakeside")
    page.get_by_text("System prompt and parameters").click()
    page.get_by_label("System prompt").last.fill("You answer in one word.")
    page.get_by_label("At most").fill("8")
    page.get_by_label("Your message").fill("What colour is the sky?")
    page.get_by_text("Show code").click()
    expect(page.locator("#code-shown")).to_contain_text('"northyard"')
    page.get_by_role("button", name="Send").click()
    reports = page.locator("[data-reports] [data-report]")
    expect(reports.nth(0).locator("table").first.locator("tr.chosen")).to_contain_text(
        "llama-fast-", timeout=ANSWER_TIMEOUT_MS
    )
    expect(reports.nth(1).locator("table").first.locator("tr.chosen")).to_contain_text(
        "llama-small-", timeout=ANSWER_TIMEOUT_MS
    )
    expect(reports.nth(1)).to_contain_text("the request asked for other providers")


def test_rows_are_pasted_checked_and_scored(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "waypost/fraud-scorer")
    rows = page.locator("[data-inputs] tbody tr")
    page.get_by_text("Paste CSV").click()
    page.locator("#csv-FEATURES").fill("1,2,3\n")
    page.get_by_role("button", name="Fill the table").click()
    expect(page.get_by_role("alert").first).to_contain_text("Line 1 has 3 values; 8 are needed.")
    page.locator("#csv-FEATURES").fill("240,3,320,4,5,0.4,0,90\n9.5,14,1,60,2,0.01,1,2000\n")
    page.get_by_role("button", name="Fill the table").click()
    expect(rows).to_have_count(2)

    hour = page.get_by_label("hour_of_day, Row 2")
    hour.fill("25")
    page.get_by_role("button", name="Run it").click()
    expect(hour).to_be_focused()
    expect(hour).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("At most 23.")).to_be_visible()
    hour.fill("14")
    expect(page.locator("[data-quote]")).to_contain_text("2 rows")
    hour.press("Control+Enter")
    answers = page.locator("[data-result] tbody tr")
    expect(answers).to_have_count(2, timeout=ANSWER_TIMEOUT_MS)
    likely, unlikely = (float(answers.nth(i).locator("td").inner_text()) for i in range(2))
    assert 0 <= unlikely < likely <= 1
    page.get_by_role("button", name="Remove row 1").click()
    expect(rows).to_have_count(1)


def picture(path: Path, side: int = 300) -> Path:
    """A red square as a PNG, without a library for it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress((b"\0" + b"\xff\0\0" * side) * side)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def test_a_picture_is_scaled_shown_and_sent(
    page: Page, local_stack: LocalStack, tmp_path: Path
) -> None:
    playground(page, local_stack, "emulated/resnet-50")
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_text("Choose an image.")).to_be_visible()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.get_by_label("Image", exact=True).set_input_files(broken)
    expect(page.get_by_text("The browser cannot read this file as an image")).to_be_visible()
    page.get_by_label("Image", exact=True).set_input_files(picture(tmp_path / "red.png"))
    expect(page.get_by_role("img", name="The image as the model will see it")).to_be_visible()
    with page.expect_request("**/infer") as asked:
        page.get_by_role("button", name="Run it").click()
    (tensor,) = asked.value.post_data_json["inputs"]
    assert tensor["shape"] == [1, 3, 224, 224]
    side = 224 * 224
    assert (tensor["data"][0], tensor["data"][side], len(tensor["data"])) == (1, 0, 3 * side)
    expect(page.locator("[data-result]")).to_contain_text(
        "The 5 highest of 1000", timeout=ANSWER_TIMEOUT_MS
    )
    expect(page.locator("[data-report]")).to_contain_text("Emulated")


def test_what_the_router_refuses_says_what_to_do(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, CHAT_MODEL)

    def refuse(status: int, code: str, **headers: str) -> None:
        allowed = {
            "access-control-allow-origin": local_stack.web_url,
            "access-control-expose-headers": "retry-after",
        }
        body = json.dumps({"error": {"message": "The router said so.", "code": code}})
        page.unroute_all()
        page.route(
            f"{local_stack.router_url}/v1/chat/completions",
            lambda route: route.fulfill(status=status, headers=allowed | headers, body=body),
        )
        page.get_by_label("Your message").fill("Hello?")
        page.get_by_role("button", name="Send").click()

    alert = page.locator("[data-error]")
    refuse(402, "insufficient_credit")
    expect(alert.get_by_role("link", name="Get credit")).to_have_attribute("href", "/billing")
    expect(alert).to_contain_text("The router said so.")
    # What nobody answered does not have to be typed again.
    expect(page.get_by_label("Your message")).to_have_value("Hello?")
    refuse(429, "rate_limited", **{"retry-after": "7"})
    expect(alert).to_contain_text("Try again in 7 s.")
    refuse(503, "no_eligible_worker", **{"retry-after": "2"})
    expect(alert).to_contain_text("choose another provider")


def test_a_call_is_looked_at_by_keyboard(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "waypost/fraud-scorer")
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("heading", name="Why this route?")).to_be_visible(
        timeout=ANSWER_TIMEOUT_MS
    )
    newest = page.locator("#calls tbody a").first
    for _ in range(20):
        page.goto(f"{local_stack.web_url}/usage?range=6h&model=waypost/fraud-scorer")
        if newest.count():
            break
        page.wait_for_timeout(250)
    newest.focus()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_role("heading", name="Why this route?")).to_be_visible()
    expect(drawer).to_contain_text("by price version")
    expect(drawer.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(newest).to_be_focused()
    page.route("**/usage/*", lambda route: route.abort())
    page.keyboard.press("Enter")
    expect(drawer).to_contain_text("The record could not be loaded.")
