"""What places cost a ticket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.caches.affinity import BLOCK_BYTES
from router.scheduling.learning import Learning
from router.scheduling.routes import Routes
from router.scheduling.scoring import Scoring
from tests.unit.router.scheduling.fleets import endpoint, scheduler, ticket

PLACES = "abcs"
CHAINS = st.integers(0, 12).map(lambda blocks: tuple(range(blocks)))


@given(
    st.lists(st.tuples(CHAINS, st.sampled_from(PLACES)), max_size=4),
    CHAINS,
    st.sampled_from([0, 7]),
    st.floats(1, 50_000),
    st.floats(1, 4_000),
    st.lists(st.sampled_from(PLACES), max_size=12),
)
def test_a_score_is_the_same_alone_and_among_others_and_never_below_the_least(
    sent: list[tuple[tuple[int, ...], str]],
    prefix: tuple[int, ...],
    session: int,
    prompt_tokens: float,
    answer_tokens: float,
    running: list[str],
) -> None:
    made = scheduler(*(endpoint(name, slots=64, service_ms=0.0) for name in PLACES))
    for number, name in enumerate(running):
        one = ticket(
            str(number), name, streams=name != "s", prompt_tokens=900.0, answer_tokens=90.0
        )
        made.arrive(one, 0.0)
    made.look(0.5)
    learning = Learning()
    for chain, name in sent:
        learning.prefixes.sent(chain, name, session)
    routes = Routes(lambda: 0.0)
    scoring = Scoring(routes, learning)
    asked = ticket(
        "asked",
        prefix=prefix,
        session=session,
        prompt_bytes=BLOCK_BYTES * len(prefix),
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
    )
    states = list(made.fleet.endpoints.values())
    scores = scoring.scores(routes.of(asked.policy), asked, states, 0.5)
    assert scores == pytest.approx([scoring.score(asked, state, 0.5) for state in states])
    for state, score in zip(states, scores, strict=True):
        assert scoring.least_s(asked, state, 0.5) <= score * (1 + 1e-9)
