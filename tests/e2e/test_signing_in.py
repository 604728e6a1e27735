"""Signing in by every way there is, with real mail, a real identity provider and a passkey."""

import base64
import re
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser import new_context
from tests.local_stack import LocalStack
from tests.sign_in_site import PROVIDER, SignInSite, sign_in_site

# One site for all of them.
PASSWORD = "correct-horse-battery"
CODE_STEP_S = 30


@pytest.fixture(scope="module")
def site(local_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignInSite]:
    with sign_in_site(local_stack, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def person(browser: Browser, site: SignInSite) -> Iterator[Page]:
    """A computer of somebody who is nobody here yet."""
    yield from computer(browser, site)


@pytest.fixture
def colleague(browser: Browser, site: SignInSite) -> Iterator[Page]:
    yield from computer(browser, site)


def computer(browser: Browser, site: SignInSite) -> Iterator[Page]:
    context = new_context(browser, locale="en", base_url=site.url)
    # The provider's page asks a server elsewhere for its looks.
    context.route("https://**", lambda route: route.abort())
    yield context.new_page()
    context.close()


def sign_up(page: Page, site: SignInSite, email: str) -> None:
    """Ends where a new person is sent to."""
    page.goto("/signup/")
    fill_sign_up(page, "Ana Silva", email)
    page.goto(link_in(site.mail_to(email)))
    page.get_by_role("button", name="Yes, confirm it").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def fill_sign_up(page: Page, name: str, email: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create an account").click()
    expect(page.get_by_role("heading", name="Check your email")).to_be_visible()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def sign_in(page: Page, email: str) -> None:
    page.goto("/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def confirm_that_it_is_me(page: Page) -> None:
    """Asked before one's own security is changed, of who came by a link."""
    expect(page.get_by_role("heading", name="Is it you?")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def link_in(mail: str) -> str:
    """The one link of a mail."""
    (link,) = re.findall(r"http://\S+", mail)
    return str(link)


def code_of(secret: str, at: float) -> str:
    """What an authenticator app shows at a time."""
    key = base64.b32decode(secret)
    return TOTP(key, 6, SHA1(), CODE_STEP_S, enforce_key_length=False).generate(int(at)).decode()


def authenticator(page: Page) -> CDPSession:
    """A computer with a fingerprint reader that always says yes."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools


def test_a_person_signs_up_founds_an_organisation_and_invites_a_colleague(
    person: Page, colleague: Page, site: SignInSite
) -> None:
    sign_up(person, site, "founder@example.com")
    person.get_by_label("Name of the organisation").fill("Harbour Works")
    person.get_by_role("button", name="Create the organisation").click()
    person.goto("/organisation")
    expect(person.get_by_role("heading", name="Harbour Works")).to_be_visible()
    person.get_by_role("textbox", name="Email").fill("colleague@example.com")
    person.get_by_label("Role", exact=True).select_option("viewer")
    person.get_by_role("button", name="Invite").click()
    expect(person.get_by_text("colleague@example.com")).to_be_visible()
    first = site.mail_to("colleague@example.com")
    person.get_by_role("button", name="Send again").click()
    invitation = link_in(site.mail_to("colleague@example.com", after=1))
    assert invitation != link_in(first)

    colleague.goto(invitation)
    expect(colleague.get_by_text("invites you to join Harbour Works as Viewer")).to_be_visible()
    colleague.get_by_role("main").get_by_role("link", name="Create an account").click()
    expect(colleague.get_by_label("Email")).to_have_value("colleague@example.com")
    fill_sign_up(colleague, "Bia", "colleague@example.com")
    colleague.goto(link_in(site.mail_to("colleague@example.com", after=2)))
    colleague.get_by_role("button", name="Yes, confirm it").click()
    # Proving the address leads back to what one came for.
    colleague.get_by_role("button", name="Join Harbour Works").click()
    colleague.goto("/organisation")
    expect(colleague.get_by_role("heading", name="Harbour Works")).to_be_visible()
    expect(colleague.get_by_role("button", name="Invite")).to_have_count(0)
    person.reload()
    expect(person.get_by_role("row", name="colleague@example.com")).to_be_visible()


def test_a_code_by_mail_signs_in(person: Page, site: SignInSite) -> None:
    sign_up(person, site, "coded@example.com")
    sign_out(person)
    person.goto("/login/")
    person.get_by_role("link", name="Email me a code instead").click()
    person.get_by_label("Email").fill("coded@example.com")
    person.get_by_role("button", name="Send the code").click()
    mail = site.mail_to("coded@example.com", after=1)
    (code,) = re.findall(r"^[A-Z0-9]{3,}-?[A-Z0-9]{3,}$", mail, re.MULTILINE)
    person.get_by_label("Code").fill(code)
    person.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()


def test_an_authenticator_app_is_set_up_and_asked_for(person: Page, site: SignInSite) -> None:
    sign_up(person, site, "careful@example.com")
    person.goto("/settings")
    person.locator(".spread", has_text="Second step").get_by_role("link", name="Manage").click()
    person.get_by_role("link", name="Set up").click()
    confirm_that_it_is_me(person)
    expect(person.get_by_role("img", name="QR code")).to_be_visible()
    secret = person.get_by_label("Or type this secret").input_value()
    now = time.time()
    person.get_by_label("Authenticator code").fill(code_of(secret, now))
    person.get_by_role("button", name="Turn it on").click()
    expect(person.get_by_role("heading", name="Recovery codes")).to_be_visible()
    recovery = person.locator("#codes").inner_text().split()
    sign_out(person)

    sign_in(person, "careful@example.com")
    expect(person.get_by_role("heading", name="Second step")).to_be_visible()
    person.get_by_label("Code").fill("000000")
    person.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(person.get_by_role("alert").first).to_contain_text("Incorrect code")
    # Each code is good once; the next one is already good: telephones' clocks differ.
    person.get_by_label("Code").fill(code_of(secret, now + CODE_STEP_S))
    person.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()

    sign_out(person)
    sign_in(person, "careful@example.com")
    person.get_by_label("Code").fill(recovery[0])
    person.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_passkey_is_made_signs_in_and_is_removed(person: Page, site: SignInSite) -> None:
    sign_up(person, site, "keys@example.com")
    authenticator(person)
    person.goto("/settings")
    person.locator(".spread", has_text="Second step").get_by_role("link", name="Manage").click()
    person.get_by_role("link", name="Manage").click()
    person.get_by_role("link", name="Add a passkey").click()
    confirm_that_it_is_me(person)
    person.get_by_label("Name").fill("My laptop")
    person.get_by_label("Passwordless").check()
    person.get_by_role("button", name="Create the passkey").click()
    # It can be lost: codes for that day come with the first one.
    expect(person.get_by_role("heading", name="Recovery codes")).to_be_visible()
    sign_out(person)

    person.goto("/login/")
    person.get_by_role("button", name="Use a passkey").click()
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()
    person.goto("/settings")
    expect(person.get_by_text("keys@example.com").first).to_be_visible()
    person.goto("/2fa/webauthn/")
    expect(person.get_by_text("My laptop")).to_be_visible()
    expect(person.get_by_text("last used")).to_be_visible()
    person.get_by_role("link", name="Remove").click()
    # A person who signed in with a passkey shows it again.
    person.get_by_role("link", name="Use a security key").click()
    person.get_by_role("button", name="Use a passkey or security key").click()
    expect(person.get_by_role("heading", name="Remove the passkey")).to_be_visible()
    person.get_by_role("button", name="Remove").click()
    expect(person.get_by_text("None yet.")).to_be_visible()
    sign_out(person)

    person.goto("/login/")
    person.get_by_role("button", name="Use a passkey").click()
    expect(person.get_by_role("status")).to_contain_text("Incorrect code.")
    expect(person.get_by_role("button", name="Sign out")).to_have_count(0)


def through_the_provider(page: Page, sub: str) -> None:
    page.goto("/login/")
    page.get_by_role("button", name=f"Continue with {PROVIDER}").click()
    page.get_by_placeholder("sub").fill(sub)
    page.get_by_role("button", name="Authorize").click()


def test_the_provider_opens_an_account_and_finds_it_again(person: Page, site: SignInSite) -> None:
    site.knows("ines", email="ines@example.com", email_verified=True, name="Inês Prado")
    through_the_provider(person, "ines")
    person.get_by_label("Name of the organisation").fill("Prado")
    person.get_by_role("button", name="Create the organisation").click()
    person.goto("/settings")
    expect(person.get_by_label("Your name")).to_have_value("Inês Prado")
    expect(person.get_by_text("ines@example.com").first).to_be_visible()
    sign_out(person)
    through_the_provider(person, "ines")
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()
    person.goto("/organisation")
    expect(person.get_by_role("heading", name="Prado")).to_be_visible()
    # The provider has proved the address: nothing was mailed about it.
    assert "confirm" not in " ".join(mail["Subject"] for mail in site.mails_to("ines@example.com"))


def test_an_address_that_a_provider_tells_opens_no_account_of_somebody_else(
    person: Page, colleague: Page, site: SignInSite
) -> None:
    sign_up(person, site, "victim@example.com")
    for sub, verified in (("mallory", False), ("mallory-again", True)):
        site.knows(sub, email="victim@example.com", email_verified=verified, name="Mallory")
        through_the_provider(colleague, sub)
        # The page reveals nothing; details go to the address by email.
        expect(colleague.get_by_role("heading", name="Check your email")).to_be_visible()
        expect(colleague.get_by_role("button", name="Sign out")).to_have_count(0)
    person.goto("/3rdparty/")
    expect(person.get_by_text("None yet.")).to_be_visible()


def test_an_existing_account_is_connected(person: Page, site: SignInSite) -> None:
    sign_up(person, site, "connected@example.com")
    site.knows("connie", email="connie@elsewhere.example", email_verified=True, name="Connie")
    person.goto("/3rdparty/")
    person.get_by_role("button", name=f"Connect {PROVIDER}").click()
    person.get_by_placeholder("sub").fill("connie")
    person.get_by_role("button", name="Authorize").click()
    expect(person.get_by_text(f"{PROVIDER} · connie")).to_be_visible()
    sign_out(person)
    through_the_provider(person, "connie")
    expect(person.get_by_role("button", name="Sign out")).to_be_visible()
    person.goto("/settings")
    expect(person.get_by_text("connected@example.com").first).to_be_visible()
