"""Promise 15 for browsers: a session token ends with what it was given for, within two seconds.

A real router on the marketplace's own database.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from django.db import connection
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import member_remove, member_set
from marketplace.routing.services import snapshot_publish
from tests.integration.marketplace.shop import Shop
from tests.integration.router.routers import Router, running, until

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

ENDS_S = 2.0


class Outlived(AssertionError):
    """It is still good."""


def log_out(client: Client, member: Membership) -> None:
    client.logout()


def remove(client: Client, member: Membership) -> None:
    member_remove(membership=member)


def status(router: Router, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{router.url}/v1/models", headers=headers, timeout=5).status_code


@pytest.mark.xfail(
    strict=True,
    raises=Outlived,
    reason="a session token outlives logout and removal from the organisation by ten minutes",
)
@pytest.mark.parametrize("leave", [log_out, remove])
def test_15_a_session_token_ends_within_two_seconds_of_its_session_or_membership(
    committed_shop: Shop, tmp_path: Path, leave: Callable[[Client, Membership], None]
) -> None:
    user = User.objects.create_user("member@example.com")
    member = member_set(organisation=committed_shop.organisation, user=user, role=Role.DEVELOPER)
    snapshot_publish()
    client = Client()
    client.force_login(user)
    told = client.post("/api/v1/session-token", {}, content_type="application/json")
    assert told.status_code == 201, told.content
    token = told.json()["token"]
    where = connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**where)
    pepper = os.environ["WAYPOST_KEY_PEPPER"]
    with running("one", url, tmp_path, WAYPOST_KEY_PEPPER=pepper) as router:
        until(lambda: status(router, token) == 200)
        leave(client, member)
        until_s = time.monotonic() + ENDS_S
        while status(router, token) != 401:
            if time.monotonic() > until_s:
                raise Outlived(f"the token is good {ENDS_S:g} s later")
            time.sleep(0.05)
