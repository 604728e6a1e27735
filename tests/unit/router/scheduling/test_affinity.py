"""Where a prompt's beginning is still cached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling import affinity
from router.scheduling.affinity import ENDPOINTS_MAX, HITS_MIN, SAVED_MAX, PrefixIndex

CHAIN = st.lists(st.integers(0, 5), min_size=1, max_size=8).map(tuple)


def test_only_the_latest_holders_of_a_block_are_remembered() -> None:
    index = PrefixIndex()
    for number in range(ENDPOINTS_MAX + 3):
        index.sent((1,), f"e{number}")
    assert set(index.hits((1,))) == {f"e{n}" for n in range(3, ENDPOINTS_MAX + 3)}


def test_sending_again_makes_a_holder_the_latest() -> None:
    index = PrefixIndex()
    for number in range(ENDPOINTS_MAX):
        index.sent((1,), f"e{number}")
    index.sent((1,), "e0")
    index.sent((1,), "new")
    assert "e0" in index.hits((1,))
    assert "e1" not in index.hits((1,))


def test_what_was_not_used_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "BLOCKS_MAX", 3)
    index = PrefixIndex()
    index.sent((1, 2), "a")
    index.sent((3,), "a")
    index.sent((1,), "a")
    index.sent((4,), "a")
    assert index.hits((2,)) == {}
    assert index.hits((1,)) == {"a": 1.0}


def test_an_empty_prompt_hits_nothing() -> None:
    index = PrefixIndex()
    index.sent((), "a")
    assert index.hits(()) == {}


@given(st.lists(st.tuples(CHAIN, st.sampled_from("abc")), max_size=20), CHAIN)
def test_a_hit_is_a_share_of_the_prompt_and_whole_where_it_was_sent(
    sent: list[tuple[tuple[int, ...], str]], prompt: tuple[int, ...]
) -> None:
    index = PrefixIndex()
    for chain, name in sent:
        index.sent(chain, name)
    hits = index.hits(prompt)
    assert all(0 < share <= 1 for share in hits.values())
    for chain, name in sent:
        if chain == prompt:
            assert hits[name] == 1.0


def test_a_small_hit_says_nothing_about_what_hits_save() -> None:
    index = PrefixIndex()
    for _ in range(100):
        index.observe("m", HITS_MIN - 0.01, 0.1)
    assert index.saved_share("m") == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), max_size=100))
def test_what_is_saved_stays_a_share_whatever_is_seen(seen: list[tuple[float, float]]) -> None:
    index = PrefixIndex()
    for hits, relative_work in seen:
        index.observe("m", hits, relative_work)
        assert 0.0 <= index.saved_share("m") <= SAVED_MAX


def test_a_cache_that_was_lost_is_noticed() -> None:
    index = PrefixIndex()
    for _ in range(200):
        index.observe("m", 1.0, 0.4)
    for _ in range(200):
        index.observe("m", 1.0, 1.0)
    assert index.saved_share("m") < 0.01
