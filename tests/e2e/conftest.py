"""The whole product, a browser, pages where the demo's user is signed in, and other customers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import MISSING, chromium_path, new_context, open_browser, sign_in
from tests.embedded import wait_until
from tests.local_stack import LocalStack, shared_stack
from tests.patience import PATIENCE_S

# A machine that is busy with a second test answers later than Playwright's five seconds.
expect.set_options(timeout=1_000 * PATIENCE_S)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; a machine that has none fails the test."""
    path = chromium_path()
    if path is None:
        pytest.fail(MISSING, pytrace=False)
    return path


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The whole product, started as a person would, on a folder and ports of its own (15 s).

    One for all workers of the run: their own temporary folders are side by side.
    """
    own: Path = tmp_path_factory.getbasetemp()
    of_the_run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared_stack(of_the_run / "stack") as stack:
        yield stack


# Of this folder: while a browser is open, its thread has an event loop that other tests would meet.
@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    with open_browser(chromium) as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(browser: Browser, local_stack: LocalStack) -> Any:
    """The cookies of the demo's user. Signing out ends them: a test that does signs in again."""
    demo = local_stack.demo
    context = new_context(browser, locale="en")
    sign_in(context.new_page(), local_stack.web_url, email=demo["email"], password=demo["password"])
    cookies = context.storage_state()
    context.close()
    return cookies


@pytest.fixture
def complaints() -> list[str]:
    """What the console of the test's page complains about, as it comes."""
    return []


@pytest.fixture
def page(browser: Browser, signed_in: Any, complaints: list[str]) -> Iterator[Page]:
    """A page of the demo's user, for which no script may fail."""
    context = new_context(browser, locale="en", storage_state=signed_in)
    page = context.new_page()
    failed: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if is_complaint(m.type) else None)
    page.on("pageerror", lambda error: failed.append(str(error)))
    yield page
    context.close()
    assert failed == []


def is_complaint(kind: str) -> bool:
    """Of a message in the console."""
    return kind in {"error", "warning"}


CUSTOMER = """
from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.billing.services import credit_grant
owner = User.objects.create_user("{slug}@example.com", full_name="Customer")
organisation = organisation_create(name="{slug}", slug="{slug}", owner=owner)
credit_grant(organisation=organisation, amount_nano=10**9, rule="system: a test", reason="A test.")
print(api_key_create(organisation=organisation, name="tests")[1])
"""


@pytest.fixture(scope="module")
def customer(request: pytest.FixtureRequest, local_stack: LocalStack) -> Iterator[httpx.Client]:
    """Calls the router for an organisation of the file's own, whose usage nobody else looks at."""
    slug = request.module.__name__.rpartition(".")[2].replace("_", "-")
    made = local_stack.manage("shell", "-v", "0", "-c", CUSTOMER.format(slug=slug))
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with httpx.Client(
        base_url=local_stack.router_url, headers=headers, timeout=PATIENCE_S
    ) as client:
        # A snapshot with the new key is on its way.
        wait_until(
            lambda: client.get("/v1/models").status_code == 200, 60, "the key was not accepted"
        )
        yield client
