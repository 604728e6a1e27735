"""What a generation costs on an engine, as a whole and in parts."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.worker_models.costs import Costs

SECONDS = st.floats(0, 10)
ROOM = st.floats(0, 1e5) | st.just(inf)
COSTS = st.builds(Costs, *[SECONDS] * 7, ROOM, st.floats(0, 0.01))
TOKENS = st.floats(1, 100_000)


@given(COSTS, TOKENS, st.floats(0, 1), st.floats(0, 4_000))
def test_the_terms_add_up_to_what_a_request_costs(
    costs: Costs, prompt: float, cached_share: float, answer: float
) -> None:
    cached = cached_share * (prompt - 1)
    terms = costs.terms(prompt, cached, answer)
    assert terms.ahead_s + terms.prefill_s == pytest.approx(costs.first_token_s(prompt, cached))
    assert terms.own_s == pytest.approx(costs.end_s(prompt, prompt - cached, answer))
    cost_s = costs.whole_s(prompt, answer) - costs.saved_s(cached)
    assert terms.own_s + terms.others_s == pytest.approx(cost_s, rel=1e-6, abs=1e-6)


def test_cached_tokens_shorten_the_prefill_and_not_the_answer() -> None:
    costs = Costs(1.0, 0.01, 0.02, 1e-5, 0.04, 0.022, 1.1e-5)
    new, known = costs.terms(1_000, 0, 50), costs.terms(1_000, 600, 50)
    assert new.prefill_s - known.prefill_s == pytest.approx(600 * 0.01)
    assert new.others_s - known.others_s == pytest.approx(600 * 0.03)
    assert (new.ahead_s, new.decode_s) == (known.ahead_s, known.decode_s)
