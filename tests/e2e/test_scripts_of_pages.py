"""What the scripts of every page do: filters, search, folded fields, parts that come late."""

import re

import httpx
from playwright.sync_api import Page, Route, expect

from tests.local_stack import LocalStack
from tests.patience import PATIENCE_S


def held_from(page: Page, url: str) -> list[Route]:
    """The requests that the page makes from now on, unanswered until they are continued."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(url, hold)
    return held


def test_dates_are_typed_to_their_end_before_they_filter(
    page: Page, local_stack: LocalStack
) -> None:
    page.goto(f"{local_stack.web_url}/usage?range=custom&from=2026-10-05&to=2026-10-25")
    asked: list[str] = []
    page.on("framenavigated", lambda frame: asked.append(frame.url))
    start = page.get_by_label("From", exact=True)
    start.focus()
    page.keyboard.type("11122026")
    expect(start).to_have_value("2026-11-12")
    page.get_by_label("To", exact=True).focus()
    page.keyboard.type("11152026")
    assert asked == []
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=2026-11-12&to=2026-11-15"))
    # What is chosen at once filters at once.
    page.get_by_label("Group by").select_option("key")
    expect(page).to_have_url(re.compile(r"by=key"))


def test_keys_choose_in_a_filter_before_it_filters(page: Page, local_stack: LocalStack) -> None:
    page.goto(f"{local_stack.web_url}/usage")
    asked: list[str] = []
    page.on("framenavigated", lambda frame: asked.append(frame.url))
    groups = page.get_by_label("Group by")
    groups.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    chosen = groups.input_value()
    assert asked == []
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"by={chosen}\b"))
    expect(groups).to_have_value(chosen)


def test_enter_opens_what_was_found_for_the_text_in_the_field(
    page: Page, local_stack: LocalStack
) -> None:
    page.goto(f"{local_stack.web_url}/usage")
    page.keyboard.press("Control+k")
    field = page.get_by_role("dialog").get_by_role("searchbox")
    expect(field).to_be_focused()
    held = held_from(page, "**/search")
    with page.expect_request("**/search"):
        field.fill("fraud")
    # The answer comes while somebody types on, in the pause before the next question.
    field.evaluate("field => { field.value = 'fraud budgets'; }")
    held[0].continue_()
    found = page.locator(".finder .found")
    expect(found).to_contain_text("Fraud")
    expect(found).to_have_attribute("data-of", "fraud")


def test_a_wrong_field_that_is_folded_away_is_shown(page: Page, local_stack: LocalStack) -> None:
    model = "huggingfacetb/smollm2-135m-instruct"
    page.goto(f"{local_stack.web_url}/models/{model}?tab=playground")
    fold = page.get_by_text("System prompt and parameters")
    fold.click()
    page.get_by_label("Temperature").fill("9")
    fold.click()
    page.get_by_label("Your message").fill("Hello?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Temperature")).to_be_visible()
    expect(page.get_by_label("Temperature")).to_be_focused()


def test_a_button_says_copied_and_then_its_own_word(page: Page, local_stack: LocalStack) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{local_stack.web_url}/models/waypost/fraud-scorer")
    button = page.get_by_role("button", name=re.compile("Copy id|Copied")).first
    button.click()
    expect(button).to_have_text("Copied")
    button.click()
    expect(button).to_have_text("Copy id")


def test_a_part_that_leads_to_another_page_does_not_become_a_part_of_this_one(
    page: Page, local_stack: LocalStack
) -> None:
    page.goto(f"{local_stack.web_url}/usage")
    # As that to sign in, where the session has ended.
    elsewhere = {"location": f"{local_stack.web_url}/models"}
    page.route("**/search", lambda route: route.fulfill(status=302, headers=elsewhere))
    with page.expect_event("load"):
        page.keyboard.press("Control+k")
    expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_drawer_is_that_of_the_call_that_was_clicked_last(
    page: Page, local_stack: LocalStack
) -> None:
    for _ in range(2):
        httpx.post(
            f"{local_stack.router_url}/v1/embeddings",
            json={"model": "wordllama/wordllama-256", "input": "a text"},
            headers={"Authorization": f"Bearer {local_stack.demo['api_key']}"},
            timeout=PATIENCE_S,
        ).raise_for_status()
    calls = page.locator("#calls tbody a")
    page.goto(f"{local_stack.web_url}/usage")
    while calls.count() < 2:
        page.reload()
    late = f"{local_stack.web_url}{calls.first.get_attribute('href')}"
    page.route(late, lambda route: None)
    with page.expect_request(late):
        calls.first.click()
    with page.expect_event("requestfailed", lambda request: request.url == late):
        calls.nth(1).click()
    shown = page.get_by_role("dialog").get_by_role("link", name="Open as a page")
    expect(shown).to_have_attribute("href", calls.nth(1).get_attribute("href"))


def test_what_was_on_its_way_does_not_move_a_paused_topology(
    page: Page, local_stack: LocalStack
) -> None:
    live = "**/topology/live"
    page.goto(f"{local_stack.web_url}/topology")
    state = page.locator("[data-live-state]")
    expect(state).to_have_text("live")
    held = held_from(page, live)
    with page.expect_request(live):
        pass
    page.get_by_role("button", name="Pause").click()
    with page.expect_event("requestfinished", lambda request: request == held[0].request):
        held[0].continue_()
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    expect(state).to_have_text("paused")
