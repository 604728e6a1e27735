"""Files of calls and tables of rows, from the browser: uploaded, watched, fetched, cancelled."""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S

MODEL = "emulated/gpt-j-6b"
FRAUD = "waypost/fraud-scorer"
FEATURES = (
    "amount_usd,hour_of_day,km_from_home,minutes_since_last,transactions_last_day"
    ",merchant_risk,card_present,account_age_days"
)
ROWS = 3_000
RUN_MS = 1_000 * PATIENCE_S


def calls(count: int, tokens: int) -> bytes:
    """Chat calls that generate so many tokens each."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": tokens,
    }
    lines = (
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n in range(count)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def upload(page: Page, stack: LocalStack, name: str, content: bytes) -> None:
    page.goto(f"{stack.web_url}/batches")
    given = {"name": name, "mimeType": "text/plain", "buffer": content}
    page.get_by_label("A file with one call per line").set_input_files(files=[given])  # type: ignore[list-item]


@contextmanager
def stays(page: Page) -> Iterator[None]:
    """Check that the page was not reloaded in between."""
    page.evaluate("window.stays = true")
    yield
    assert page.evaluate("window.stays") is True


def output(page: Page) -> str:
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^Output")).click()
    return download.value.path().read_text()


def test_a_file_of_calls_is_uploaded_watched_and_fetched(
    page: Page, local_stack: LocalStack
) -> None:
    upload(page, local_stack, "calls.jsonl", calls(40, tokens=8))
    page.get_by_role("button", name="Upload and run").click()
    with stays(page):
        expect(page.locator("#batch")).to_contain_text("Completed", timeout=RUN_MS)
    expect(page.locator("#batch")).to_contain_text("40")
    lines = [json.loads(line) for line in output(page).splitlines()]
    assert [line["custom_id"] for line in lines] == [f"c{n}" for n in range(40)]
    assert {line["response"]["status_code"] for line in lines} == {200}


def test_a_table_of_transactions_is_scored(page: Page, local_stack: LocalStack) -> None:
    rows = [f"t{n},{n % 900},3,{n % 50},4,5,0.4,0,90" for n in range(ROWS)]
    table = "\n".join([f"id,{FEATURES}", *rows]).encode()
    upload(page, local_stack, "transactions.csv", table)
    page.get_by_label("Model of the rows").select_option(FRAUD)
    page.get_by_role("button", name="Upload and run").click()
    with stays(page):
        expect(page.locator("#batch")).to_contain_text("Completed", timeout=RUN_MS)
    header, *scored = csv.reader(output(page).splitlines())
    assert header == ["id", *FEATURES.split(","), "FRAUD_PROBABILITY"]
    assert [row[0] for row in scored] == [f"t{n}" for n in range(ROWS)]
    chances = [float(row[-1]) for row in scored]
    assert all(0 <= chance <= 1 for chance in chances)
    assert len(set(chances)) > 1


def test_a_batch_that_runs_is_cancelled_and_delivers_what_it_has(
    page: Page, local_stack: LocalStack
) -> None:
    upload(page, local_stack, "calls.jsonl", calls(5_000, tokens=64))
    page.get_by_role("button", name="Upload and run").click()
    with stays(page):
        expect(page.locator("#batch")).to_contain_text("Lines per second", timeout=RUN_MS)
        expect(page.locator("#batch")).to_contain_text("Expected to end")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the batch").click()
    expect(page.locator("#batch")).to_contain_text("Cancelled", timeout=RUN_MS)
    assert 0 < len(output(page).splitlines()) < 5_000


def test_a_file_with_errors_says_in_which_lines(page: Page, local_stack: LocalStack) -> None:
    upload(page, local_stack, "calls.jsonl", calls(16, tokens=1) + b"{\n")
    page.get_by_role("button", name="Upload and run").click()
    expect(page.get_by_role("row", name=re.compile("^17 invalid_json_line"))).to_be_visible(
        timeout=RUN_MS
    )
