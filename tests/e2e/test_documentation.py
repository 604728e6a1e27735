"""The documentation, as anybody reads it at `/docs`."""

from playwright.sync_api import Browser, expect

from tests.e2e.conftest import is_complaint
from tests.local_stack import LocalStack


def test_anybody_searches_and_reads_without_asking_another_host(
    browser: Browser, local_stack: LocalStack
) -> None:
    context = browser.new_context(color_scheme="dark")
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
