"""The playgrounds of every kind of model, and the message after a stop."""

import io
import json
import re
import wave

from playwright.sync_api import Page, expect

from tests.e2e.test_accessibility import cut_off, violations
from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

CHAT_MODEL = "huggingfacetb/smollm2-135m-instruct"
EMULATED_MODEL = "emulated/llama-2-70b-chat"
ANSWER_TIMEOUT_MS = 1_000 * PATIENCE_S


def playground(page: Page, stack: LocalStack, model: str) -> None:
    page.goto(f"{stack.web_url}/models/{model}?tab=playground")


def report_of(page: Page) -> str:
    """The text next to the answer, once it is there."""
    expect(page.get_by_role("heading", name="Why this route?")).to_be_visible(
        timeout=ANSWER_TIMEOUT_MS
    )
    return page.locator("[data-report]").inner_text()


def engines_of(page: Page) -> list[list[str]]:
    """The rows of the table of engines, by cell."""
    expect(page.get_by_role("heading", name="What each engine would take")).to_be_visible()
    table = page.get_by_role("table").filter(has_text="Slowing others")
    rows = table.locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_a_transaction_is_scored(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "waypost/fraud-scorer")
    page.get_by_role("button", name="Run it").click()
    answer = page.locator("[data-result] tbody td")
    expect(answer).to_have_text(re.compile(r"^0\.\d+$"), timeout=ANSWER_TIMEOUT_MS)
    assert "triton-" in report_of(page)


def test_texts_alike_score_higher_than_texts_apart(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "wordllama/wordllama-256")

    def similarity(first: str, second: str) -> float:
        page.get_by_label("First text").fill(first)
        page.get_by_label("Second text").fill(second)
        with page.expect_response("**/v1/embeddings"):
            page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("button", name="Compare")).to_be_enabled()
        return float(page.locator("[data-result]").inner_text())

    alike = similarity("The cat sleeps on the sofa.", "A kitten naps on the couch.")
    apart = similarity("The cat sleeps on the sofa.", "Quarterly tax receipts rose.")
    assert alike > apart
    assert "triton-" in report_of(page)


def test_documents_are_ranked(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "wordllama/wordllama-rerank")
    page.get_by_label("Question").fill("Where do cats sleep?")
    page.get_by_label("Documents").fill("Tax receipts rose.\n\nA cat sleeps on the sofa.")
    page.get_by_role("button", name="Run it").click()
    ranked = page.locator("[data-result] tbody th")
    expect(ranked).to_have_text(
        ["A cat sleeps on the sofa.", "Tax receipts rose."], timeout=ANSWER_TIMEOUT_MS
    )
    assert "triton-" in report_of(page)


def test_a_text_is_judged(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "hironsan/hatesonar")
    page.get_by_role("button", name="Run it").click()
    result = page.locator("[data-result]")
    expect(result.get_by_text("Not flagged")).to_be_visible(timeout=ANSWER_TIMEOUT_MS)
    expect(result.get_by_role("row", name="hate")).to_have_count(1)


def test_an_image_is_made(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "emulated/stable-diffusion-xl")
    page.get_by_label("What the image shows").fill("A signpost")
    page.get_by_label("Size").select_option("512x512")
    page.get_by_role("button", name="Run it").click()
    image = page.get_by_role("img", name="A signpost")
    expect(image).to_be_visible(timeout=ANSWER_TIMEOUT_MS)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 512
    assert "Images" in report_of(page)


def test_speech_is_heard(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "emulated/kokoro-82m")
    page.get_by_role("button", name="Run it").click()
    page.locator("[data-result] audio").evaluate(
        "player => new Promise((ready) => { player.oncanplay = ready; player.load(); })"
    )
    expect(page.get_by_role("link", name="Open the record of this call")).to_be_visible()
    assert "emulated-" in page.locator("[data-report]").inner_text()


def test_a_recording_is_written_down(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, "emulated/whisper-large-v3")
    recording = {"name": "silence.wav", "mimeType": "audio/wav", "buffer": silence(seconds=3)}
    page.get_by_label("Sound file").set_input_files(recording)
    expect(page.locator("[data-quote]")).to_contain_text("Seconds of sound: 3")
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("[data-result]")).to_contain_text("3 s", timeout=ANSWER_TIMEOUT_MS)
    assert "Seconds of sound" in report_of(page)


def silence(seconds: int) -> bytes:
    """A wave file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8_000)
        sound.writeframes(b"\x80" * 8_000 * seconds)
    return file.getvalue()


def test_an_emulated_answer_says_so(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, EMULATED_MODEL)
    page.get_by_label("Your message").fill("Who are you?")
    page.get_by_role("button", name="Send").click()
    report = report_of(page)
    assert "Emulated" in report
    assert "emulated-" in report


def test_what_each_engine_would_take_is_told_with_an_answer_and_on_its_record(
    page: Page, local_stack: LocalStack
) -> None:
    playground(page, local_stack, EMULATED_MODEL)
    page.get_by_label("Your message").fill("Which engine are you?")
    page.get_by_role("button", name="Send").click()
    report_of(page)
    received = engines_of(page)
    assert len(received) >= 2
    assert {len(row) for row in received} == {9}
    assert violations(page) == []
    page.get_by_role("link", name="Open the record of this call").click()
    expect(page.get_by_role("heading", name="Where the time went")).to_be_visible()
    recorded = engines_of(page)
    assert [row[0] for row in recorded] == [row[0] for row in received]
    assert [row[-1] for row in recorded] == [row[-1] for row in received]
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert cut_off(page) == []


def test_a_stopped_answer_costs_what_came(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, CHAT_MODEL)
    page.get_by_label("At most").fill("800")
    page.get_by_label("Your message").fill("Tell a very long story about a railway yard.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".bubble").last).to_contain_text(
        re.compile(r"\w+ \w+"), timeout=ANSWER_TIMEOUT_MS
    )
    page.get_by_role("button", name="Stop").click()
    received = page.locator("[data-stopped]")
    expect(received).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()

    newest = page.locator("#calls tbody tr").first
    for _ in range(20):
        page.goto(f"{local_stack.web_url}/usage?outcome=client_gone")
        if newest.count():
            break
        page.wait_for_timeout(250)
    expect(newest).to_contain_text("Client left")
    expect(newest).to_contain_text("$0.0")


def test_an_answer_is_shown_as_markdown_and_runs_nothing(
    page: Page, local_stack: LocalStack
) -> None:
    answer = (
        "Some **bold**.\n\n```python\nprint(1)\n```\n\n<img src=x onerror='window.ran = 1'>"
        "<script>window.ran = 1</script><form>[a](javascript:window.ran=1)</form>"
    )
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": answer}}]})
    playground(page, local_stack, CHAT_MODEL)
    page.route(
        f"{local_stack.router_url}/v1/chat/completions",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            headers={"access-control-allow-origin": "*"},
            body=f"data: {chunk}\n\ndata: [DONE]\n\n",
        ),
    )
    page.get_by_label("Your message").fill("Hello?")
    page.get_by_role("button", name="Send").click()
    shown = page.locator(".bubble").last
    expect(shown.locator("strong")).to_have_text("bold")
    expect(shown.get_by_role("button", name="Copy")).to_be_visible()
    expect(shown.locator("pre")).to_have_text("print(1)")
    assert shown.locator("img, script, form, a[href]").count() == 0
    assert page.evaluate("window.ran") is None


def test_a_router_that_is_away_is_said_in_words(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, CHAT_MODEL)
    page.route(f"{local_stack.router_url}/**", lambda route: route.abort())
    page.get_by_label("Your message").fill("Hello?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("The router cannot be reached.")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
