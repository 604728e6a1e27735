"""Who may send a file: keys, session tokens and signed-in sessions, and nobody else."""

import pytest
from django.conf import settings

from marketplace.accounts.services import api_key_create, api_key_revoke, session_token_issue
from marketplace.config.front.uploading import is_known
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


def asked(**headers: str) -> dict[str, object]:
    return {
        "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
    }


def test_a_key_is_known_until_it_is_revoked(shop: Shop) -> None:
    api_key, key = api_key_create(organisation=shop.organisation, name="files")
    assert is_known(asked(authorization=f"Bearer {key}"))
    assert is_known(asked(x_api_key=key))
    api_key_revoke(api_key=api_key)
    assert not is_known(asked(authorization=f"Bearer {key}"))


def test_a_session_token_is_known(shop: Shop) -> None:
    token, _ = session_token_issue(
        user=shop.owner, organisation=shop.organisation, session_key="a session"
    )
    assert is_known(asked(authorization=f"bearer {token}"))
    assert not is_known(asked(authorization=f"bearer {token[:-2]}xx"))


def test_a_session_is_known_once_its_person_signed_in(shop: Shop) -> None:
    browser = signed_in(shop.owner)
    cookie = browser.cookies[settings.SESSION_COOKIE_NAME].value
    assert is_known(asked(cookie=f"{settings.SESSION_COOKIE_NAME}={cookie}"))
    browser.logout()
    assert not is_known(asked(cookie=f"{settings.SESSION_COOKIE_NAME}={cookie}"))


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer nonsense"}, {"cookie": "a=b"}, {"cookie": ";;="}]
)
def test_strangers_are_not(headers: dict[str, str]) -> None:
    assert not is_known(asked(**headers))
