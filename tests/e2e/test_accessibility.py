"""Every page: no serious barrier (axe), no error in the console, nothing that moves while it loads,
nothing that scrolls sideways. Nightly in the dark and on a phone too.
"""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import new_context, sign_in
from tests.e2e.screenshots import CHAT_MODEL, LOOKS, PAGES
from tests.local_stack import LocalStack

AXE = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"
GRAVE = {"serious", "critical"}
ALL_PAGES = {
    **PAGES,
    "playground": f"/models/{CHAT_MODEL}?tab=playground",
    "empty": "/models?q=zzz",
}


SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""
NIGHTLY = ("dark", "phone", "wide", "portuguese")
SHIFT_MAX = 0.05
"""Half of what is called good of the Cumulative Layout Shift: https://web.dev/articles/cls."""


def violations(page: Page) -> list[str]:
    """What axe holds to be serious or critical, with where."""
    # The page's own policy forbids foreign scripts; evaluate() runs beside it.
    page.evaluate(AXE.read_text())
    # It would look up every rule that holds, too, element by element.
    found = page.evaluate("async () => (await axe.run({resultTypes: ['violations']})).violations")
    return [
        f"{v['id']}: {v['help']}: {json.dumps([n['target'] for n in v['nodes'][:3]])}"
        for v in found
        if v["impact"] in GRAVE
    ]


def cut_off(page: Page) -> list[str]:
    """Tables with more to the side that don't show it or lose their first column, those with a
    column out of sight on a phone, and filters that scroll beside others.
    """
    found: list[str] = page.evaluate(
        """() => {
          const wide = [...document.querySelectorAll(".table-wrap")].filter(
            (wrap) => wrap.checkVisibility() && wrap.scrollWidth > wrap.clientWidth + 1);
          const blind = wide.filter((wrap) => {
            const fade = parseFloat(getComputedStyle(wrap).getPropertyValue("--fade-end"));
            const first = wrap.querySelector("tr > :first-child");
            return !(fade > 0) || getComputedStyle(first).position !== "sticky";
          }).map((wrap) => `blind to the side: ${wrap.textContent.trim().slice(0, 40)}`);
          // Not models side by side, nor a table to fill in: it has its model's columns.
          const hides = innerWidth > 640 ? [] : wide.filter(
            (wrap) => !wrap.querySelector(".side-by-side") && !wrap.closest(".tensor")
          ).map((wrap) => `columns out of sight: ${wrap.textContent.trim().slice(0, 40)}`);
          const lists = [...document.querySelectorAll(".facet-list")].filter(
            (list) => list.checkVisibility() && list.scrollHeight > list.clientHeight);
          return [...blind, ...hides, ...(lists.length > 1 ? ["several filters scroll"] : [])];
        }"""
    )
    return found


WIDEST = """() => {
  for (const folded of document.querySelectorAll("main details")) folded.open = true;
  return document.documentElement.scrollWidth - innerWidth;
}"""
"""By how many pixels a page is too wide, with all that it has folded away."""


def benchmark(page: Page, web_url: str) -> None:
    """Ask for one over the API, as the page's script would, so that it has a page."""
    token = next(c["value"] for c in page.context.cookies() if c["name"] == "csrftoken")
    asked = page.context.request.post(
        f"{web_url}/api/v1/benchmarks",
        data={
            "model": CHAT_MODEL,
            "target": "route",
            "scenario": "single_stream",
            "settings": {"seconds_min": 0.5, "seconds_max": 1},
        },
        headers={"X-CSRFToken": token, "Referer": web_url},
    )
    assert asked.status == 201, asked.text()


@pytest.mark.parametrize(
    "look",
    ["light", *(pytest.param(look, marks=pytest.mark.nightly) for look in NIGHTLY)],
)
def test_no_page_has_a_serious_barrier(
    look: str, browser: Browser, local_stack: LocalStack
) -> None:
    with new_context(browser, **LOOKS[look], locale="en", reduced_motion="reduce") as context:
        page = context.new_page()
        said_in_console: list[str] = []
        page.on("console", lambda m: said_in_console.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: said_in_console.append(str(error)))
        page.add_init_script(SHIFTS)
        page.goto(f"{local_stack.web_url}/login/")
        found = {"login": violations(page)}
        demo = local_stack.demo
        sign_in(page, local_stack.web_url, email=demo["email"], password=demo["password"])
        if look == "portuguese":
            page.set_extra_http_headers({"Accept-Language": "pt-BR"})
        benchmark(page, local_stack.web_url)
        for name, path in ALL_PAGES.items():
            page.goto(local_stack.web_url + path)
            found[name] = violations(page)
            found[name] += cut_off(page)
            shifted = page.evaluate("window.shifted")
            if shifted > SHIFT_MAX:
                found[name].append(f"moves while it loads: {shifted:.2f}")
            width = page.evaluate(WIDEST)
            if width > 0:
                found[name].append(f"scrolls sideways by {width} px")
            found[name] += said_in_console
            said_in_console.clear()
    assert {name: said for name, said in found.items() if said} == {}
