"""Envelopes: what opens them, what does not, and what a rotation does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.shared.sealing import Purpose, Unreadable, Vault, is_envelope

OLD, NEW = b"an old key" * 4, b"a new key" * 4
WEBHOOKS = Purpose.WEBHOOKS


@given(st.text(), st.binary(min_size=1))
def test_what_is_sealed_is_read_with_the_same_key_only(secret: str, key: bytes) -> None:
    sealed = Vault([key], WEBHOOKS).seal(secret)
    assert Vault([key], WEBHOOKS).open(sealed) == secret
    for other in (Vault([key + b"x"], WEBHOOKS), Vault([key], Purpose.SECOND_FACTORS)):
        with pytest.raises(Unreadable):
            other.open(sealed)


@pytest.mark.parametrize("damaged", ["", "gAAAA-nonsense", ":", "gAAAA-nonsense:gAAAA", "é:é"])
def test_a_damaged_secret_is_not_read(damaged: str) -> None:
    for read in (Vault([NEW], WEBHOOKS).open, Vault([NEW], WEBHOOKS).resealed):
        with pytest.raises(Unreadable):
            read(damaged)


def test_of_two_equal_secrets_nothing_tells_that_they_are() -> None:
    first, second = (Vault([NEW], WEBHOOKS).seal("same") for _ in range(2))
    assert not set(first.split(":")) & set(second.split(":"))


def test_a_rotation_leaves_nothing_under_the_old_key_and_the_secret_untouched() -> None:
    before = Vault([OLD], WEBHOOKS).seal("whsec_x")
    both = Vault([NEW, OLD], WEBHOOKS)
    assert both.open(before) == "whsec_x"
    after = both.resealed(before)
    assert Vault([NEW], WEBHOOKS).open(after) == "whsec_x"
    with pytest.raises(Unreadable):
        Vault([OLD], WEBHOOKS).open(after)
    assert after.partition(":")[2] == before.partition(":")[2]
    assert both.resealed(after) == after


def test_what_is_under_no_known_key_is_not_rotated() -> None:
    with pytest.raises(Unreadable):
        Vault([NEW], WEBHOOKS).resealed(Vault([OLD], WEBHOOKS).seal("x"))


def test_a_secret_of_before_envelopes_is_read_and_gets_one() -> None:
    vault = Vault([NEW, OLD], WEBHOOKS)
    sealed_then = Vault([OLD], WEBHOOKS)._all.encrypt(b"whsec_x").decode()
    assert vault.open(sealed_then) == "whsec_x"
    assert is_envelope(vault.resealed(sealed_then))
    assert Vault([NEW], WEBHOOKS).open(vault.resealed(sealed_then)) == "whsec_x"
