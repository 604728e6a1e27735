"""Which engine still has the beginning of a prompt."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.caches import affinity
from router.scheduling.caches.affinity import CAPACITY_MIN, PrefixIndex
from router.scheduling.learning import Learning

CHAIN = st.lists(st.integers(0, 5), min_size=1, max_size=8, unique=True).map(tuple)
SENT = st.lists(st.tuples(CHAIN, st.sampled_from("abc")), max_size=30)


def by_hand(
    sent: list[tuple[tuple[int, ...], str]], most: int
) -> dict[str, OrderedDict[int, None]]:
    """What each engine has, by its own memory."""
    memories: dict[str, OrderedDict[int, None]] = {}
    for chain, name in sent:
        memory = memories.setdefault(name, OrderedDict())
        for block in reversed(chain):
            memory[block] = None
            memory.move_to_end(block)
        while len(memory) > most:
            memory.popitem(last=False)
    return memories


def test_a_prefix_is_found_where_it_was_sent() -> None:
    index = PrefixIndex()
    index.sent((1, 2, 3, 4), "a")
    index.sent((1, 2), "b")
    assert index.cached((1, 2, 3, 9)) == {"a": 3, "b": 2}
    assert index.cached((9, 2, 3)) == {}
    assert index.cached(()) == {}


def test_the_home_of_a_session_is_where_its_last_call_went() -> None:
    index = PrefixIndex()
    assert index.home(7) is None
    index.sent((1, 2), "a", session=7)
    index.sent((1, 2), "b")
    assert (index.home(7), index.home(8), index.home(0)) == ("a", None, None)
    index.sent((3,), "b", session=7)
    assert index.home(7) == "b"
    index.keep_only("a")
    assert index.home(7) is None


def test_the_number_of_remembered_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "SESSIONS_MAX", 2)
    index = PrefixIndex()
    for session in (1, 2, 3):
        index.sent((1,), "a", session)
    assert [index.home(session) for session in (1, 2, 3)] == [None, "a", "a"]


@given(SENT, CHAIN, st.integers(1, 10))
def test_the_index_agrees_with_a_separate_memory_for_each_engine(
    sent: list[tuple[tuple[int, ...], str]], prompt: tuple[int, ...], most: int
) -> None:
    index = PrefixIndex()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(affinity, "CAPACITY", most)
        for chain, name in sent:
            index.sent(chain, name)
    expected: dict[str, int] = {}
    for name, memory in by_hand(sent, most).items():
        count = 0
        while count < len(prompt) and prompt[count] in memory:
            count += 1
        if count:
            expected[name] = count
    assert index.cached(prompt) == expected


@given(SENT, st.integers(1, 12))
def test_all_engines_together_remember_no_more_than_the_bound(
    sent: list[tuple[tuple[int, ...], str]], most: int
) -> None:
    index = PrefixIndex(blocks_max=most)
    for name in "abc":  # The bound is shared by those that there are.
        index.sent((), name)
    for chain, name in sent:
        index.sent(chain, name)
        assert len(index) <= most


def test_the_end_of_a_prompt_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "CAPACITY", 3)
    index = PrefixIndex()
    index.sent((1, 2), "a")
    index.sent((3, 4), "a")
    assert index.cached((1, 2)) == {"a": 1}
    assert index.cached((3, 4)) == {"a": 2}


def test_an_engine_that_is_gone_is_forgotten_and_the_others_are_not() -> None:
    index = PrefixIndex()
    for name in ("a", "b", "c"):
        index.sent((1, 2), name)
    index.keep_only({"a", "c"})
    assert index.cached((1, 2)) == {"a": 2, "c": 2}
    index.sent((1, 2), "d")
    assert index.cached((1, 2)) == {"a": 2, "c": 2, "d": 2}


def test_an_engine_that_had_less_than_expected_is_taken_to_keep_less() -> None:
    index = PrefixIndex()
    chains = [tuple(range(10 * n, 10 * n + 10)) for n in range(300)]
    for chain in chains:
        index.sent(chain, "a")
    assert index.cached(chains[1]) == {"a": 10}
    index.counted("a", 1_000, 1_000)
    for _ in range(50):
        index.counted("a", 1_000, 0)
    index.sent(chains[-1], "a")
    assert index.cached(chains[1]) == {}
    assert index.cached(chains[-1]) == {"a": 10}
    for _ in range(1_000):
        index.counted("a", 1_000, 0)
    index.sent(chains[-1], "a")
    assert len(index) == CAPACITY_MIN


def test_an_engine_that_never_counts_cached_tokens_is_believed() -> None:
    index = PrefixIndex()
    chains = [tuple(range(10 * n, 10 * n + 10)) for n in range(300)]
    for chain in chains:
        index.sent(chain, "a")
        index.counted("a", 1_000, 0)
    index.sent(chains[-1], "a")
    assert index.cached(chains[0]) == {"a": 10}


def test_a_schedulers_bound_is_that_of_its_index() -> None:
    learning = Learning(prefix_blocks_max=3)
    learning.prefixes.sent(tuple(range(9)), "a")
    assert len(learning.prefixes) == 3
