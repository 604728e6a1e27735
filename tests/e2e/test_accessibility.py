"""Every page, light and dark and on a phone, before axe: nothing serious may be found."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import open_browser, sign_in
from tests.e2e.screenshots import CHAT_MODEL, LOOKS, PAGES
from tests.local_stack import LocalStack

pytestmark = pytest.mark.e2e

AXE = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"
GRAVE = {"serious", "critical"}
ALL_PAGES = {**PAGES, "playground": f"/models/{CHAT_MODEL}?tab=playground", "empty": "/?q=zzz"}


def violations(page: Page) -> list[str]:
    """What axe holds to be serious or critical, with where."""
    # The page's own policy forbids foreign scripts; evaluate() runs beside it.
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{v['id']}: {v['help']}: {json.dumps([n['target'] for n in v['nodes'][:3]])}"
        for v in found
        if v["impact"] in GRAVE
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_no_page_has_a_serious_barrier(look: str, chromium: str, local_stack: LocalStack) -> None:
    with open_browser(chromium) as browser:
        page = browser.new_context(**LOOKS[look], locale="en", reduced_motion="reduce").new_page()
        page.goto(f"{local_stack.web_url}/login/")
        found = {"login": violations(page)}
        demo = local_stack.demo
        sign_in(page, local_stack.web_url, email=demo["email"], password=demo["password"])
        for name, path in ALL_PAGES.items():
            page.goto(local_stack.web_url + path)
            found[name] = violations(page)
            width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if width > 0:
                found[name].append(f"scrolls sideways by {width} px")
    assert {name: said for name, said in found.items() if said} == {}
