"""The documentation, as anybody reads it at `/docs`, and the search that every page has."""

from playwright.sync_api import Browser, Page, expect

from tests.browser import new_context
from tests.e2e.conftest import is_complaint
from tests.local_stack import LocalStack


def test_anybody_searches_and_reads_without_asking_another_host(
    browser: Browser, local_stack: LocalStack
) -> None:
    context = new_context(browser, color_scheme="dark")
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda m: complaints.append(m.text) if is_complaint(m.type) else None)

    page.goto(f"{local_stack.web_url}/login/")
    page.get_by_role("contentinfo").get_by_role("link", name="Documentation").click()
    expect(page.get_by_role("heading", name="Waypost's documentation")).to_be_visible()
    # Light text on dark ground, as the browser asks.
    expect(page.locator("body")).to_have_css("background-color", "rgb(17, 23, 21)")

    page.get_by_role("button", name="Search").first.click()
    page.get_by_role("combobox", name="Search").fill("LeasesExpired")
    page.get_by_role("option").first.click()
    expect(page.get_by_role("heading", name="LeasesExpired")).to_be_visible()

    page.goto(f"{local_stack.web_url}/docs/explanation/architecture/")
    expect(page.locator(".mermaid").first).to_be_visible()
    context.close()
    ours = (local_stack.web_url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(ours)] == []
    assert complaints == []


def test_ctrl_k_leads_to_a_model_by_keyboard_alone(
    page: Page, local_stack: LocalStack, complaints: list[str]
) -> None:
    page.goto(f"{local_stack.web_url}/billing")
    page.keyboard.press("Control+k")
    found = page.get_by_role("dialog", name="Search")
    expect(found.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("gpt-j")
    link = found.get_by_role("link", name="GPT-J 6B")
    expect(link).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="GPT-J 6B")).to_be_visible()
    assert complaints == []
