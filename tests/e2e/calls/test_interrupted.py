"""What is done in the middle: begins anew, goes back, types on. And answers that break off."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.calls.test_side_by_side import CHAT_MODEL, picture, playground
from tests.local_stack import LocalStack

ENDING = "data: [DONE]\n\n"


def said(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"


class Answers:
    """Answers the page's calls in the router's place, and keeps what was sent."""

    def __init__(self, page: Page, stack: LocalStack) -> None:
        self.held: list[Route] = []
        self.sent: list[dict] = []
        self._allowed = {"access-control-allow-origin": stack.web_url}
        self.body: str | None = said("Hello.") + ENDING
        self.status = 200
        page.route(f"{stack.router_url}/v1/chat/completions", self._answer)

    def _answer(self, route: Route) -> None:
        if route.request.method == "OPTIONS" or "x-route-quote" in route.request.headers:
            return route.fallback()
        self.sent.append(json.loads(route.request.post_data or ""))
        if self.body is None:
            return self.held.append(route)
        kind = "text/event-stream" if self.status == 200 else "application/json"
        route.fulfill(status=self.status, content_type=kind, headers=self._allowed, body=self.body)


@pytest.fixture
def answers(page: Page, local_stack: LocalStack) -> Answers:
    playground(page, local_stack, CHAT_MODEL)
    return Answers(page, local_stack)


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_a_conversation_that_is_begun_anew_has_nothing_of_the_one_before(
    page: Page, answers: Answers
) -> None:
    answers.body = None
    ask(page, "First?")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.get_by_label("Your message")).to_have_value("")
    expect(page.locator("[data-stopped]")).to_be_hidden()
    answers.body = said("Yes.") + ENDING
    ask(page, "Second?")
    expect(page.locator(".bubble").last).to_contain_text("Yes.")
    assert [message["content"] for message in answers.sent[-1]["messages"]] == ["Second?"]
    page.reload()
    expect(page.locator(".bubble")).to_have_count(2)


@pytest.mark.parametrize("body", [said("Half of"), said("Half of") + "data: {not json\n\n"])
def test_an_answer_that_breaks_off_says_so(page: Page, answers: Answers, body: str) -> None:
    answers.body = body
    ask(page, "Hello?")
    expect(page.get_by_role("alert")).to_contain_text("The answer was cut off.")
    expect(page.locator(".bubble").last).to_contain_text("Half of")


def test_a_picture_that_nobody_looked_at_need_not_be_chosen_again(
    page: Page, answers: Answers, tmp_path: Path
) -> None:
    page.evaluate("document.querySelector('[data-images-field]').hidden = false")
    page.locator("#images").set_input_files(picture(tmp_path / "red.png"))
    expect(page.locator(".thumbnail")).to_have_count(1)
    answers.status = 503
    answers.body = json.dumps({"error": {"message": "Not now.", "code": "no_eligible_worker"}})
    ask(page, "What is this?")
    expect(page.get_by_role("alert")).to_contain_text("Not now.")
    expect(page.locator(".thumbnail")).to_have_count(1)
    expect(page.get_by_label("Your message")).to_have_value("What is this?")


def shown_images(page: Page) -> Locator:
    page.evaluate("document.querySelector('[data-images-field]').hidden = false")
    return page.locator(".thumbnail")


def test_a_message_waits_for_the_pictures_that_were_chosen_for_it(
    page: Page, answers: Answers, tmp_path: Path
) -> None:
    thumbnails = shown_images(page)
    page.get_by_label("Your message").fill("What is this?")
    # In one turn: the picture cannot have been read.
    page.evaluate(
        """() => {
            const made = document.createElement("canvas");
            const text = atob(made.toDataURL().split(",")[1]);
            const bytes = Uint8Array.from(text, (one) => one.charCodeAt(0));
            const chosen = new DataTransfer();
            chosen.items.add(new File([bytes], "a.png", { type: "image/png" }));
            const files = document.querySelector("#images");
            files.files = chosen.files;
            files.dispatchEvent(new Event("change"));
            document.querySelector("form:has(#prompt)").requestSubmit();
        }"""
    )
    expect(page.locator(".bubble").last).to_contain_text("Hello.")
    kinds = [part["type"] for part in answers.sent[-1]["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]
    expect(thumbnails).to_have_count(0)


def test_pictures_for_which_there_is_no_room_are_said(
    page: Page, answers: Answers, tmp_path: Path
) -> None:
    thumbnails = shown_images(page)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    whole = [picture(tmp_path / f"{side}.png", side) for side in range(20, 25)]
    problem = page.locator("[data-image-problem]")
    page.locator("#images").set_input_files([whole[0], broken])
    expect(problem).to_contain_text("cannot read this file")
    expect(thumbnails).to_have_count(1)
    page.locator("#images").set_input_files(whole[1:])
    expect(problem).to_contain_text("At most 4 images")
    expect(thumbnails).to_have_count(4)


def test_code_is_that_of_the_call_as_it_would_go_now(page: Page, answers: Answers) -> None:
    page.get_by_text("Show code").click()
    shown = page.locator("#code-shown")
    expect(shown).to_contain_text(CHAT_MODEL)
    page.locator(".lane").get_by_label("Provider").select_option("northyard")
    expect(shown).to_contain_text('"northyard"')
    ask(page, "First?")
    expect(page.locator(".bubble").last).to_contain_text("Hello.")
    expect(shown).to_contain_text("Hello.")


def test_code_is_shown_while_somebody_still_types(page: Page, local_stack: LocalStack) -> None:
    playground(page, local_stack, CHAT_MODEL)
    page.get_by_text("Show code").click()
    expect(page.locator("#code-shown")).to_contain_text(CHAT_MODEL)
    page.get_by_text("System prompt and parameters").click()
    system = page.get_by_label("System prompt").last
    system.press_sequentially("abc")
    expect(system).to_have_value("abc")
    expect(page.locator("#code-shown")).to_contain_text("abc")

    playground(page, local_stack, "waypost/fraud-scorer")
    page.get_by_text("Show code").click()
    page.get_by_label("amount_usd, Row 1").fill("")
    hour = page.get_by_label("hour_of_day, Row 1")
    hour.fill("")
    hour.press_sequentially("14")
    expect(hour).to_have_value("14")


def test_back_in_the_catalog_shows_what_is_filtered(page: Page, local_stack: LocalStack) -> None:
    page.goto(f"{local_stack.web_url}/models")
    chat = page.get_by_role("checkbox", name="Chat", exact=True)
    chat.check()
    page.wait_for_url("**task=chat**")
    page.get_by_role("combobox", name="Kind").select_option("real")
    page.wait_for_url("**kind=real**")
    # The address changes before the page does: a key pressed in between is the old page's.
    with page.expect_event("load"):
        page.go_back()
    assert "kind=real" not in page.url
    expect(chat).to_be_checked()
    page.keyboard.press("Control+k")
    expect(page.locator("dialog.finder-dialog")).to_be_visible()


def test_a_failure_stands_beside_no_answer_of_the_call_before(
    page: Page, local_stack: LocalStack
) -> None:
    """And an integer of 64 bits has all its digits."""
    playground(page, local_stack, "waypost/fraud-scorer")
    answer = {"name": "id", "datatype": "INT64", "shape": [1], "data": [2**63 - 1]}
    bodies = [(200, {"outputs": [answer]}), (503, {"error": "No worker is there."})]

    def reply(route: Route) -> None:
        if route.request.method == "OPTIONS" or "x-route-quote" in route.request.headers:
            return route.fallback()
        status, body = bodies.pop(0)
        allowed = {"access-control-allow-origin": local_stack.web_url}
        route.fulfill(status=status, headers=allowed, json=body)

    page.route(f"{local_stack.router_url}/v2/models/**", reply)
    shown = page.locator("[data-result]")
    page.get_by_role("button", name="Run it").click()
    expect(shown).to_contain_text(str(2**63 - 1))
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("[data-error]")).to_contain_text("No worker is there.")
    expect(shown).to_contain_text("The answer appears here.")
    expect(shown).not_to_contain_text(str(2**63 - 1))
