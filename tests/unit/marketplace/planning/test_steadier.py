"""Workers come at once and go late."""

from hypothesis import given
from hypothesis import strategies as st

from marketplace.planning.scaling.steadier import Steadier


def test_more_is_had_at_once_and_fewer_after_a_while() -> None:
    steadier = Steadier(down_after_s=60)
    wishes = [(0, 1), (10, 3), (20, 1), (60, 1), (69, 1), (70, 1), (130, 0), (131, 0)]
    counts = [steadier.count(wished, at) for at, wished in wishes]
    assert counts == [1, 3, 3, 3, 3, 1, 0, 0]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 9)), max_size=40))
def test_it_is_the_most_of_the_last_while(gaps: list[tuple[float, int]]) -> None:
    steadier, now_s, wishes = Steadier(60), 0.0, []
    for gap_s, wished in gaps:
        now_s += gap_s
        wishes.append((now_s, wished))
        lately = [count for at, count in wishes if now_s - at < 60]
        assert steadier.count(wished, now_s) == max(lately)
