"""Whose call it is, and whose it is no more: expiry to the second, scopes, limits and budgets."""

from typing import Any

import pytest
from msgspec import structs

from router.domain.catalog import ApiKey, Budget, Limit, Organisation, RateLimits
from router.domain.errors import CredentialInvalid, NotAllowed
from router.domain.keys import EndedSession, SessionClaims, digest_key, sign_session
from router.domain.money import Purse
from router.pipeline.access.authenticate import authenticate
from router.pipeline.plans.routing_table import Grant, RoutingTable, build_table
from tests.unit.router.pipeline.line import ACCOUNT, KEY, PEPPER, snapshot

EXPIRES_S = 1_000
CLAIMS = SessionClaims(organisation_id=1, account_id=ACCOUNT, user_id=9, expires_at_s=EXPIRES_S)
LIMITS = RateLimits(requests_per_minute=5)


def table_of(**values: object) -> RoutingTable:
    """Of one key, with these values."""
    (key,) = snapshot().keys
    return build_table(structs.replace(snapshot(), keys=(structs.replace(key, **values),)))


def asked(table: RoutingTable, token: str, now_s: float = 0.0) -> Grant:
    return authenticate(table, f"Bearer {token}", pepper=PEPPER, now_s=now_s)


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_key_is_good_until_the_second_it_expires(seen_before: bool) -> None:
    table = table_of(expires_at_s=EXPIRES_S)
    if seen_before:
        assert asked(table, KEY, EXPIRES_S - 1).key_id == 5
    for late in (EXPIRES_S, EXPIRES_S + 1):
        with pytest.raises(CredentialInvalid, match="expired"):
            asked(table, KEY, late)


def test_a_session_is_good_until_the_second_it_expires() -> None:
    table, token = table_of(), sign_session(CLAIMS, PEPPER)
    assert asked(table, token, EXPIRES_S - 1).user_id == 9
    for late in (EXPIRES_S, EXPIRES_S + 1):
        with pytest.raises(CredentialInvalid, match="expired"):
            asked(table, token, late)


@pytest.mark.parametrize(
    ("given_up", "ends"),
    [
        ({}, True),
        ({"organisation_id": 1}, True),
        ({"organisation_id": 2}, False),
        ({"session": "here"}, True),
        ({"session": "elsewhere"}, False),
        ({"user_id": 8}, False),
        ({"expires_until_s": EXPIRES_S - 1}, False),
    ],
)
def test_a_session_is_good_until_what_it_was_given_for_ends(
    given_up: dict[str, Any], ends: bool
) -> None:
    ended = EndedSession(**{"user_id": 9, "expires_until_s": EXPIRES_S, **given_up})
    table = build_table(structs.replace(snapshot(), ended_sessions=(ended,)))
    token = sign_session(structs.replace(CLAIMS, session="here"), PEPPER)
    if ends:
        with pytest.raises(CredentialInvalid, match="has ended"):
            asked(table, token)
    else:
        assert asked(table, token).user_id == 9


def test_a_key_without_an_end_never_expires() -> None:
    assert asked(table_of(), KEY, 2.0**40).key_id == 5


@pytest.mark.parametrize("scopes", [(), ("management",), ("inference2", "metrics")])
def test_a_key_without_the_scope_for_it_may_not_call(scopes: tuple[str, ...]) -> None:
    with pytest.raises(NotAllowed, match="'inference'"):
        asked(table_of(scopes=scopes), KEY)


def test_one_of_several_scopes_is_enough() -> None:
    assert asked(table_of(scopes=("management", "inference")), KEY).key_id == 5


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer x{KEY}",
        f"Bearer {sign_session(CLAIMS, b'another pepper')}",
        f"Bearer {digest_key(KEY, PEPPER)}",
    ],
)
def test_what_is_no_known_credential_is_refused(authorization: str) -> None:
    with pytest.raises(CredentialInvalid):
        authenticate(table_of(), authorization, pepper=PEPPER, now_s=0.0)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    grant = authenticate(table_of(), f"{scheme}  {KEY} ", pepper=PEPPER, now_s=0.0)
    assert grant.organisation_id == 1


@pytest.mark.parametrize("tries", [1, 2])
def test_a_key_brings_its_own_limits_models_and_budgets(tries: int) -> None:
    """The same the second time, when its grant is remembered."""
    (key,) = snapshot().keys
    mine = structs.replace(key, user_id=9, models=("a/m",), limits=LIMITS)
    another = ApiKey(6, "d", organisation_id=1, account_id=ACCOUNT, user_id=8)
    catalog = structs.replace(
        snapshot(),
        keys=(mine, another),
        organisations=(Organisation(1, LIMITS), Organisation(2, RateLimits(calls_at_once=1))),
        budgets=(
            Budget(34, organisation_id=1, key_id=5),
            Budget(33, organisation_id=1, user_id=9),
            Budget(35, organisation_id=1),
            Budget(36, organisation_id=1, user_id=8),
            Budget(37, organisation_id=1, key_id=6),
            Budget(38, organisation_id=2),
        ),
    )
    table = build_table(catalog)
    for _ in range(tries):
        grant = asked(table, KEY)
    assert grant.purse == Purse(ACCOUNT, (33, 34, 35))
    assert grant.limits == (
        Limit("key:5", LIMITS, "this API key is"),
        Limit("org:1", LIMITS, "this organisation is"),
    )
    assert grant.models == ("a/m",)
    session = asked(table, sign_session(CLAIMS, PEPPER))
    assert session.purse == Purse(ACCOUNT, (33, 35))
    assert session.limits == (Limit("org:1", LIMITS, "this organisation is"),)
    assert (session.key_id, session.user_id, session.models) == (0, 9, ())


KEY_CLAIMS = structs.replace(CLAIMS, user_id=0, key_id=5)


def test_a_token_that_speaks_for_a_key_is_granted_what_the_key_is() -> None:
    table = table_of(user_id=9, models=("a/m",), limits=LIMITS, expires_at_s=EXPIRES_S)
    assert asked(table, sign_session(KEY_CLAIMS, PEPPER)) == asked(table, KEY)


@pytest.mark.parametrize(
    ("claimed", "now_s", "error"),
    [
        ({"key_id": 6}, 0, "not known or was revoked"),
        ({"organisation_id": 2}, 0, "not known or was revoked"),
        ({"expires_at_s": 500}, 500, "expired; reload"),
        ({"expires_at_s": 2_000}, EXPIRES_S, "API key has expired"),
    ],
)
def test_a_token_that_speaks_for_a_key_ends_with_it(
    claimed: dict[str, Any], now_s: int, error: str
) -> None:
    token = sign_session(structs.replace(KEY_CLAIMS, **claimed), PEPPER)
    with pytest.raises(CredentialInvalid, match=error):
        asked(table_of(expires_at_s=EXPIRES_S), token, now_s)


def test_a_token_may_not_do_what_its_key_may_not() -> None:
    with pytest.raises(NotAllowed, match="'inference'"):
        asked(table_of(scopes=("management",)), sign_session(KEY_CLAIMS, PEPPER))


def test_the_end_of_a_persons_sessions_is_not_that_of_a_key_that_they_made() -> None:
    ended = EndedSession(user_id=9, expires_until_s=EXPIRES_S)
    table = build_table(structs.replace(snapshot(), ended_sessions=(ended,)))
    token = sign_session(structs.replace(KEY_CLAIMS, user_id=9), PEPPER)
    assert asked(table, token).key_id == 5
