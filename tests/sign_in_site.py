"""Pages as a company sets them up: mail and its own identity provider, each a process.

They run next to a stack, on its data, and under ``localhost``: browsers offer passkeys
over http by that name only.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import httpx

from deploy.local.home import state
from deploy.local.processes.ports import HOST, accepts, free_ports
from tests.backend import backend, running
from tests.embedded import wait_until
from tests.local_stack import LocalStack

MAIL_S = 60
PROVIDER = "Example Inc."


@dataclass(frozen=True, slots=True)
class SignInSite:
    """Where its pages are, the folder that mail arrives in, and the identity provider."""

    url: str
    maildir: Path
    provider_url: str

    def mail_to(self, address: str, *, after: int = 0) -> str:
        """The text of the newest mail to an address, once more than ``after`` have come."""
        wait_until(lambda: len(self.mails_to(address)) > after, MAIL_S, f"no mail to {address}")
        body = self.mails_to(address)[-1].get_body(("plain",))
        assert body is not None
        text: str = body.get_content()
        return text

    def mails_to(self, address: str) -> list[EmailMessage]:
        """All mail to an address, oldest first."""
        came = sorted((self.maildir / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        parsed = [BytesParser(policy=default).parsebytes(path.read_bytes()) for path in came]
        return [message for message in parsed if address in message["To"]]

    def knows(self, sub: str, **claims: str | bool) -> None:
        """Give the identity provider a person with this ``sub`` and these claims."""
        httpx.put(f"{self.provider_url}/users/{sub}", json=claims).raise_for_status()


@contextlib.contextmanager
def sign_in_site(stack: LocalStack, folder: Path) -> Iterator[SignInSite]:
    """Yield such pages next to ``stack``; ``folder`` gets mail and logs."""
    web_port, mail_port, provider_port = free_ports(3)
    site = SignInSite(
        url=f"http://localhost:{web_port}",
        maildir=folder / "mail",
        provider_url=f"http://{HOST}:{provider_port}",
    )
    found = state.load(stack.home)
    assert found is not None
    env = {
        **found.environment,
        "WAYPOST_PUBLIC_URL": site.url,
        "EMAIL_URL": f"smtp://{HOST}:{mail_port}",
        "WAYPOST_MAIL_FROM": "Waypost <no-reply@example.com>",
        "WAYPOST_OIDC_ISSUER": site.provider_url,
        "WAYPOST_OIDC_CLIENT_ID": "waypost",
        "WAYPOST_OIDC_CLIENT_SECRET": "a secret that the provider does not look at",
        "WAYPOST_OIDC_NAME": PROVIDER,
    }
    mail = ["aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Mailbox", "-l", f"{HOST}:{mail_port}"]
    provider = ["oidc_provider_mock", "--port", str(provider_port)]
    web = ["granian", "--interface", "asginl", "--host", HOST, "--port", str(web_port)]
    web += ["marketplace.config.asgi:application"]
    discovery = f"{site.provider_url}/.well-known/openid-configuration"
    with (
        running([*mail, str(site.maildir)], lambda: accepts(mail_port), folder / "mail.log"),
        backend(provider, discovery, folder / "provider.log"),
        backend(web, f"http://{HOST}:{web_port}/login/", folder / "web.log", env),
    ):
        yield site
