"""A person at the door, as the tests of accounts need one."""

import re
from urllib.parse import urlsplit

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client

from marketplace.accounts.models import User

PASSWORD = "correct-horse-battery"


def sign_in(client: Client, email: str = "ana@example.com", password: str = PASSWORD) -> int:
    return client.post("/login/", {"login": email, "password": password}).status_code


def is_signed_in(client: Client) -> bool:
    return client.get("/settings").status_code == 200


def sign_up(client: Client, email: str = "new@example.com", **more: str) -> int:
    return client.post(
        "/signup/", {"email": email, "password1": PASSWORD, "full_name": "New", **more}
    ).status_code


def link_in(message: str) -> str:
    """The path of the one link of a mail."""
    (link,) = re.findall(r"http://\S+", message)
    return urlsplit(link).path


def totp_of(user: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret
