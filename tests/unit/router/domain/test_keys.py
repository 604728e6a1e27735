"""Keys that catch typing mistakes, and session tokens that catch tampering."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.ids import uuid7
from router.domain.keys import (
    BASE62,
    SessionClaims,
    compose_key,
    digest_key,
    key_is_wellformed,
    mask_key,
    sign_session,
    verify_session,
)

PEPPER = b"pepper"
CLAIMS = SessionClaims(organisation_id=1, account_id=2, user_id=3, expires_at_s=4)


@given(st.binary(min_size=24, max_size=40), st.data())
def test_any_single_mistyped_character_is_caught(secret: bytes, data: st.DataObject) -> None:
    key = compose_key(secret)
    assert key_is_wellformed(key)
    place = data.draw(st.integers(0, len(key) - 1))
    wrong = data.draw(st.sampled_from(BASE62).filter(lambda c: c != key[place]))
    assert not key_is_wellformed(key[:place] + wrong + key[place + 1 :])


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="24 random bytes"):
        compose_key(b"short")


def test_a_digest_depends_on_the_pepper_and_a_mask_hides_the_secret() -> None:
    key = compose_key(bytes(range(32)))
    assert digest_key(key, b"one") != digest_key(key, b"two")
    assert len(mask_key(key)) < 20
    assert key not in mask_key(key)


def test_an_authentic_session_is_believed() -> None:
    assert verify_session(sign_session(CLAIMS, PEPPER), PEPPER) == CLAIMS


@given(st.data())
def test_a_tampered_session_is_not(data: st.DataObject) -> None:
    token = sign_session(CLAIMS, PEPPER)
    place = data.draw(st.integers(0, len(token) - 1))
    wrong = data.draw(st.sampled_from(BASE62 + "-_.").filter(lambda c: c != token[place]))
    changed = token[:place] + wrong + token[place + 1 :]
    assert verify_session(changed, PEPPER) is None


def test_bits_that_decoding_drops_are_no_other_spelling_of_a_session() -> None:
    token = sign_session(CLAIMS, PEPPER)
    alphabet = BASE62 + "-_"
    assert [c for c in alphabet if verify_session(token[:-1] + c, PEPPER)] == [token[-1]]


@pytest.mark.parametrize("token", ["", "wp_session_", "wp_session_x.y", "wp_session_é.é", "a.b"])
def test_rubbish_is_no_session(token: str) -> None:
    assert verify_session(token, PEPPER) is None


@given(st.integers(0, 2**48 - 2), st.integers(0, 2**74 - 1), st.integers(0, 2**74 - 1))
def test_request_ids_are_uuid7_and_sort_by_time(millis: int, one: int, two: int) -> None:
    earlier, later = uuid7(millis, one), uuid7(millis + 1, two)
    assert earlier < later
    assert UUID(earlier).int >> 80 == millis
    assert (earlier[14], earlier[19] in "89ab") == ("7", True)
