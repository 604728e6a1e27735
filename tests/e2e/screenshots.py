"""``python -m tests.e2e.screenshots OUT [--home .waypost]``: pictures of every page.

Takes a running stack (``manage.py up``), signs in as the demo user, makes one call in a playground
and photographs each page in light, dark, on a phone, on a wide screen and in Portuguese.
``--only`` takes patterns of pictures, such as ``keys-*``. The README's pictures are made with
``--only playground-light``, that of engines with ``--only engines-light``.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event

import httpx
from playwright.sync_api import Browser, FloatRect, Page

from deploy.local.home import state
from tests.browser import chromium_path, new_context, open_browser, sign_in

CHAT_MODEL = "huggingfacetb/smollm2-135m-instruct"
ENGINES_MODEL = "emulated/llama-2-70b-chat"
CALLERS = 7
"""Who share the engines of a picture with the call that it is of."""

PAGES = {
    "landing": "/",
    "start": "/start",
    "catalog": "/models",
    "model": f"/models/{CHAT_MODEL}",
    "api": f"/models/{CHAT_MODEL}?tab=api",
    "providers": "/models/emulated/llama-2-70b-chat?tab=providers",
    "batches": "/batches",
    "keys": "/keys",
    "authorize": "/auth?redirect_uri=https://tool.example/back&client_id=Tool&limit=5"
    f"&scope=inference+management&code_challenge_method=S256&code_challenge={'A' * 43}",
    "webhooks": "/webhooks",
    "own-endpoints": "/endpoints",
    "own-endpoint-new": "/endpoints/new",
    "own-endpoint-new-host": "/endpoints/new-host",
    "usage": "/usage",
    "predictions": "/predictions",
    "prediction-new": "/predictions/new",
    "pipelines": "/provide/pipelines",
    "credit-requests": "/credit-requests",
    "advisor": "/advisor",
    "billing": "/billing",
    "budgets": "/budgets",
    "reconciliation": "/reconciliation",
    "earnings": "/earnings",
    "provide": "/provide",
    "provide-price": "/provide/deployments/1/price",
    "provide-traffic": "/provide/deployments/1",
    "reviews": "/reviews",
    "routes": "/routes",
    "topology": "/topology",
    "pool-workers": "/pools/llama-fast/workers",
    "worker": "/topology/workers/emulated-h100-0",
    "policy": "/routes/emulated/gpt-j-6b/policy",
    "dead-letters": "/dead-letters",
    "support": "/support",
    "support-organisation": "/support/demo",
    "what-if": "/what-if",
    "benchmarks": "/benchmarks",
    "benchmark": "/benchmarks/1",
    "benchmarks-compare": "/benchmarks/compare",
    "route": "/routes/emulated/gpt-j-6b",
    "catalog-table": "/models?view=table&sort=use&m=emulated/gpt-j-6b&task=chat",
    "rankings": "/rankings",
    "status": "/status",
    "compare": f"/compare?m={CHAT_MODEL}&m=emulated/gpt-j-6b&m=emulated/llama-2-70b-chat",
    "performance": f"/models/{CHAT_MODEL}?tab=performance&range=24h",
    "versions": f"/models/{CHAT_MODEL}?tab=versions",
    "activity": f"/models/{CHAT_MODEL}?tab=activity",
    "organisation": "/organisation",
    "settings": "/settings",
    "audit-log": "/audit-log",
    "audit-log-all": "/audit-log/all",
    "second-step": "/2fa/",
    "sessions": "/sessions/",
    "welcome": "/welcome",
    "fraud": "/models/waypost/fraud-scorer?tab=playground",
    "try-embeddings": "/models/emulated/bge-large?tab=playground",
    "try-rerank": "/models/emulated/bge-reranker-large?tab=playground",
    "try-moderation": "/models/emulated/deberta-moderation?tab=playground",
    "try-image": "/models/emulated/stable-diffusion-xl?tab=playground",
    "try-speech": "/models/emulated/kokoro-82m?tab=playground",
    "try-transcription": "/models/emulated/whisper-large-v3?tab=playground",
    "docs": "/docs/",
    "docs-settings": "/docs/reference/settings/",
}
MARGIN = 16
"""Pixels around a section."""

LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "wide": {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "light"},
    "portuguese": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
}


def main() -> int:
    """Write the pictures; 1 with one line when nothing runs or there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.screenshots")
    parser.add_argument("out", type=Path)
    parser.add_argument("--home", type=Path, default=Path(".waypost"))
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN")
    arguments = parser.parse_args()
    executable, running = chromium_path(), state.load(arguments.home.resolve())
    if executable is None or running is None:
        print("screenshots: need chromium and a running stack (manage.py up)", file=sys.stderr)
        return 1
    base_url = running.environment["WAYPOST_PUBLIC_URL"]
    router_url = running.environment["WAYPOST_ROUTER_URL"]
    demo = json.loads((arguments.home / "demo.json").read_text()) | {"router_url": router_url}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_browser(executable) as browser:
        for look in LOOKS:
            _photograph(browser, look, base_url, demo, arguments.out, arguments.only)
    return 0


def _photograph(
    browser: Browser, look: str, base_url: str, demo: dict[str, str], out: Path, only: list[str]
) -> None:
    # What is said in a playground is found by its English labels.
    names = (*(() if look == "portuguese" else ("playground", "call", "engines")), *PAGES)
    wanted = [name for name in names if any(fnmatchcase(f"{name}-{look}", one) for one in only)]
    if not wanted:
        return
    page = new_context(browser, **LOOKS[look], locale="en", reduced_motion="reduce").new_page()
    sign_in(page, base_url, email=demo["email"], password=demo["password"])
    if {"playground", "call"} & set(wanted):
        _chat(page, base_url, CHAT_MODEL)
        if "playground" in wanted:
            _shoot(page, out / f"playground-{look}.png")
        if "call" in wanted:
            _open_record(page)
            _shoot(page, out / f"call-{look}.png")
    if "engines" in wanted:
        with _others(demo):
            _chat(page, base_url, ENGINES_MODEL)
            for _ in range(2):  # The second time its engine remembers the first.
                _say(page, "And what if one of the servers is slower than the others? " * 150)
        _open_record(page)
        _shoot(page, out / f"engines-{look}.png", "Why this route?")
    with _portuguese(page) if look == "portuguese" else contextlib.nullcontext():
        for name in wanted:
            if name in PAGES:
                page.goto(base_url + PAGES[name])
                _shoot(page, out / f"{name}-{look}.png")


@contextlib.contextmanager
def _portuguese(page: Page) -> Iterator[None]:
    """The language is kept with the person, who has English again afterwards."""
    page.get_by_role("button", name="Português").click()
    try:
        yield
    finally:
        page.get_by_role("button", name="English").first.click()


def _shoot(page: Page, path: Path, section: str = "") -> None:
    """The whole page from its top: a bar that stays there would be in the midst of it. Or, of the
    whole, the section of this heading.
    """
    page.evaluate("scrollTo(0, 0)")
    clip: FloatRect | None = None
    if section:
        titled = page.locator("section").filter(has=page.get_by_role("heading", name=section))
        box = titled.bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
        clip = {
            "x": box["x"] - MARGIN,
            "y": box["y"] - MARGIN,
            "width": box["width"] + 2 * MARGIN,
            "height": box["height"] + 2 * MARGIN,
        }
    page.screenshot(path=path, full_page=True, clip=clip)


def _chat(page: Page, base_url: str, model: str) -> None:
    page.goto(f"{base_url}/models/{model}?tab=playground")
    _say(page, "What does a load balancer do? Answer in one sentence.")


def _say(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    with page.expect_response("**/v1/chat/completions") as answer:
        page.get_by_role("button", name="Send").click()
    answer.value.finished()
    page.get_by_role("heading", name="Why this route?").wait_for(timeout=60_000)


def _open_record(page: Page) -> None:
    page.get_by_role("link", name="Open the record").click()
    page.get_by_role("heading", name="Why this route?").wait_for()


@contextlib.contextmanager
def _others(demo: dict[str, str]) -> Iterator[None]:
    """Others call the engines too, each again and again, with prompts of all lengths."""
    over = Event()

    def caller(number: int) -> None:
        asked = {
            "model": ENGINES_MODEL,
            "messages": [{"role": "user", "content": f"{number} " + "Go on. " * 200 * number}],
            "max_tokens": 200,
            "stream": True,
        }
        auth = {"authorization": f"Bearer {demo['api_key']}"}
        url = f"{demo['router_url']}/v1/chat/completions"
        while not over.is_set():
            httpx.post(url, json=asked, headers=auth, timeout=60).raise_for_status()

    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(caller, number) for number in range(CALLERS)]
        try:
            yield
        finally:
            over.set()
    for call in calls:
        call.result()


if __name__ == "__main__":
    sys.exit(main())
