"""What was learned outlives the router, and comes back to what is still the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.contracts.learned import KeptLearned, Learned, decode_learned, encode_learned
from router.domain.catalog import Endpoint
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Decision, Hedge
from router.scheduling.estimates.estimate import PRIOR_SAMPLES
from router.scheduling.estimates.tokens import KEPT_MAX, SAMPLES_MIN
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Used
from router.scheduling.worker_models.engines import EngineEndpoint
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

SLOW, FAST = endpoint("slow", service_ms=0, deployment=1), endpoint("fast", service_ms=0)
LLM = endpoint("llm", slots=4, service_ms=0, deployment=2)
NOW_S = 50_000.0
CHAT = {"prompt_tokens": 100.0, "prompt_bytes": 300, "answer_tokens": 64.0}


def learn_slots(made: Scheduler) -> None:
    """Whole answers: 0.5 s on one, 0.1 s on the other."""
    for number in range(10):
        now_s = 10.0 * number
        for name, took_s in (("slow", 0.5), ("fast", 0.1)):
            made.ended(place(made, "t", name, now_s=now_s), ANSWERED, now_s + took_s)


def learn_engine(
    made: Scheduler, *, from_s: float = 100.0, answers: int = 30, slower: float = 1
) -> None:
    """Streams: 0.4 s to the first token, 20 ms a step."""
    for number in range(answers):
        now_s = from_s + 10 * number
        first_s = now_s + 0.4 * slower
        attempt = place(made, "t", "llm", now_s=now_s, streams=True, tenant=7, **CHAT)
        for step in range(64):
            attempt.heard(1, first_s + 0.02 * slower * step)
            if not step:
                made.first_byte(attempt, first_s)
        made.ended(attempt, ANSWERED, now_s + 1.66 * slower, Used(120, 0, 64))


def engine_of(made: Scheduler) -> EngineEndpoint:
    """The model of the endpoint that streamed."""
    model = made.fleet.endpoints["llm"].model
    assert isinstance(model, EngineEndpoint)
    return model


def restarted(learned: Learned, *endpoints: Endpoint) -> Scheduler:
    made = scheduler()
    made.remember(learned, NOW_S)
    made.apply(endpoints, NOW_S)
    return made


def changed(one: Endpoint, **changes: dict[str, object]) -> Endpoint:
    """``worker`` and ``deployment`` with other values."""
    parts = {name: msgspec.structs.replace(getattr(one, name), **changes[name]) for name in changes}
    return msgspec.structs.replace(one, **parts)


def hedges(decisions: list[Decision]) -> list[Decision]:
    return [decision for decision in decisions if isinstance(decision, Hedge)]


def test_the_first_call_goes_where_an_earlier_life_would_have_sent_it() -> None:
    made = scheduler(SLOW, FAST)
    learn_slots(made)
    for order in (("slow", "fast"), ("fast", "slow")):
        again = restarted(made.learned(), SLOW, FAST)
        assert place(again, "first", *order, now_s=NOW_S).endpoint.id == "fast"


def test_a_remembered_engine_is_what_it_was() -> None:
    made = scheduler(LLM)
    learn_engine(made)
    before = engine_of(made)
    before.worker.places.count = 9
    before.engine.speed.event_tokens = 1.5
    again = restarted(made.learned(), LLM)
    after = engine_of(again)
    assert after.worker.places.count == 9
    assert after.engine.factors == pytest.approx(before.engine.factors)
    for engine in (before.engine, after.engine):
        engine.look(NOW_S)
    assert after.engine.costs.end_s(100, 100, 64) == pytest.approx(
        before.engine.costs.end_s(100, 100, 64), rel=0.05
    )
    assert after.engine.costs.end_s(100, 100, 64) == pytest.approx(1.66, rel=0.2)
    for item in ("prompt_tokens", "answer_tokens", "event_tokens"):
        assert getattr(after.engine.speed, item) == getattr(before.engine.speed, item)
    assert after.service.estimate.seconds == before.service.estimate.seconds
    assert again.tokens.prompt("m", 300) == made.tokens.prompt("m", 300)
    assert again.tokens.answer("m", 7, 0) == made.tokens.answer("m", 7, 0)


def test_a_remembered_straggler_is_still_known_among_its_siblings() -> None:
    siblings = [endpoint(name, slots=4, service_ms=0, deployment=2) for name in ("a", "b", "llm")]
    made = scheduler(*siblings)
    for number in range(30):
        for name, each_s in (("a", 0.01), ("b", 0.01), ("llm", 0.05)):
            now_s = 10.0 * number
            attempt = place(made, "t", name, now_s=now_s, streams=True, **CHAT)
            made.first_byte(attempt, now_s + 0.1)
            for step in range(1, 64):
                attempt.heard(1, now_s + 0.1 + each_s * step)
            made.ended(attempt, ANSWERED, now_s + 0.1 + each_s * 64, Used(100, 0, 64))
    again = restarted(made.learned(), *siblings)
    streamed = place(again, "t", "llm", "a", "b", now_s=NOW_S, streams=True, **CHAT)
    assert streamed.endpoint.id != "llm"


def test_what_is_remembered_counts_as_little_as_a_prior() -> None:
    made = scheduler(SLOW, FAST)
    learn_slots(made)
    again = restarted(made.learned(), SLOW, FAST)
    assert again.fleet.endpoints["slow"].estimate.samples == PRIOR_SAMPLES
    for number in range(12):  # It has become as fast as the other.
        now_s = NOW_S + 10 * number
        again.ended(place(again, "t", "slow", now_s=now_s), ANSWERED, now_s + 0.1)
    assert again.fleet.endpoints["slow"].estimate.seconds < 0.2


def test_a_profile_beside_it_makes_it_no_surer() -> None:
    profiled = endpoint("one", service_ms=300)
    made = scheduler(profiled)
    made.ended(place(made, "t", "one"), ANSWERED, 0.5)
    again = restarted(made.learned(), profiled)
    before_s = again.fleet.endpoints["one"].estimate.seconds
    again.ended(place(again, "t", "one", now_s=NOW_S), ANSWERED, NOW_S + 0.6)
    assert again.fleet.endpoints["one"].estimate.seconds == pytest.approx((before_s + 0.6) / 2)


def test_a_remembered_engine_that_has_become_slower_is_soon_known() -> None:
    made = scheduler(LLM)
    learn_engine(made)
    again = restarted(made.learned(), LLM)
    learn_engine(again, from_s=NOW_S, answers=2, slower=3)
    engine = engine_of(again).engine
    engine.look(NOW_S + 20)
    assert engine.costs.end_s(100, 100, 64) == pytest.approx(3 * 1.66, rel=0.1)


def test_what_a_probe_takes_is_remembered() -> None:
    made = scheduler(SLOW)
    made.ended(place(made, "t", "slow"), ANSWERED, 0.5)
    made.fleet.endpoints["slow"].service.shared.probe_work = 0.3
    again = restarted(made.learned(), SLOW)
    assert again.fleet.endpoints["slow"].service.shared.probe_work == 0.3


def test_a_sibling_that_nobody_has_measured_begins_with_what_its_pool_has_shown() -> None:
    made = scheduler(SLOW)
    made.ended(place(made, "t", "slow"), ANSWERED, 0.5)
    new = endpoint("new", service_ms=0, deployment=1)
    again = restarted(made.learned(), new, SLOW)
    assert again.fleet.endpoints["new"].estimate.seconds == pytest.approx(0.5)
    assert not again.fleet.endpoints["new"].estimate.is_guess


@pytest.mark.parametrize(
    "now",
    [
        changed(SLOW, deployment={"upstream_model": "another"}),
        changed(SLOW, deployment={"pool": "another"}, worker={"url": "http://elsewhere"}),
        endpoint("another", service_ms=0, deployment=9),
    ],
    ids=["another model", "another pool and address", "another endpoint"],
)
def test_what_has_changed_is_not_taken_for_the_same(now: Endpoint) -> None:
    made = scheduler(SLOW, FAST)
    learn_slots(made)
    assert restarted(made.learned(), now).fleet.endpoints[now.id].estimate.is_guess


def test_a_worker_at_another_address_is_known_by_its_pool_alone() -> None:
    siblings = [endpoint(name, service_ms=0, deployment=1) for name in ("slow", "fast")]
    made = scheduler(*siblings)
    learn_slots(made)
    moved = changed(siblings[0], worker={"url": "http://elsewhere"})
    state = restarted(made.learned(), moved, siblings[1]).fleet.endpoints["slow"]
    assert 0.1 < state.estimate.seconds < 0.4
    assert not state.estimate.samples


def test_places_are_found_again_where_other_slots_were_configured() -> None:
    made = scheduler(LLM)
    learn_engine(made)
    engine_of(made).worker.places.count = 9
    for received in ({"slots": 6}, {"url": "http://elsewhere"}):
        now = changed(LLM, worker=received)
        places = engine_of(restarted(made.learned(), now)).worker.places
        assert places.count == now.worker.slots


def test_the_lengths_of_which_most_was_seen_are_kept() -> None:
    made = scheduler(LLM)
    for tenant in range(2 * KEPT_MAX):
        for _ in range(SAMPLES_MIN + (tenant >= KEPT_MAX)):
            made.tokens.answered("m", tenant, 0, 40)
    for _ in range(2 * SAMPLES_MIN):
        made.tokens.answered("gone", 1, 0, 40)
    answers = made.learned().answers
    assert len(answers) == KEPT_MAX
    assert {answer.model for answer in answers} == {"m"}
    assert {answer.tenant for answer in answers} <= {-1, *range(KEPT_MAX, 2 * KEPT_MAX)}
    again = restarted(made.learned(), LLM)
    for _ in range(SAMPLES_MIN):
        again.tokens.answered("m", 1, 0, 400)
    assert again.tokens.answer("m", 2, 0) > 200


def test_an_endpoint_that_comes_later_is_remembered_too() -> None:
    made = scheduler(SLOW, FAST)
    learn_slots(made)
    again = restarted(made.learned(), FAST)
    again.apply((FAST, SLOW), NOW_S + 5)
    assert again.fleet.endpoints["slow"].estimate.seconds == pytest.approx(0.5)


def test_a_newer_snapshot_does_not_bring_old_news() -> None:
    made = scheduler(SLOW)
    made.ended(place(made, "t", "slow"), ANSWERED, 0.5)
    again = restarted(made.learned(), SLOW)
    for number in range(30):
        again.ended(place(again, "t", "slow", now_s=NOW_S + number), ANSWERED, NOW_S + number + 0.1)
    again.apply((), NOW_S + 40)
    again.apply((SLOW,), NOW_S + 41)
    assert again.fleet.endpoints["slow"].estimate.seconds < 0.2


def test_the_first_call_to_a_remembered_endpoint_is_not_hedged_for_being_unknown() -> None:
    made = scheduler(SLOW)
    made.ended(place(made, "t", "slow"), ANSWERED, 3.0)
    other = endpoint("other", service_ms=3_500)
    for learned, is_hedged in ((made.learned(), False), (Learned(), True)):
        again = restarted(learned, SLOW, other)
        assert place(again, "first", "slow", "other", now_s=NOW_S).endpoint.id == "slow"
        assert bool(hedges(again.tick(NOW_S + 8))) is is_hedged


def test_exporting_changes_nothing() -> None:
    made = scheduler(SLOW, FAST, LLM)
    learn_slots(made)
    learn_engine(made)
    learned = made.learned()
    assert made.learned() == learned
    learn_slots(made)
    assert made.learned() != learned


# The file


@st.composite
def lives(draw: st.DrawFn) -> Scheduler:
    """Schedulers that have seen something, whatever it was."""
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
    endpoints = [
        endpoint(name, slots=draw(st.integers(1, 5)), service_ms=0, deployment=1 + number % 2)
        for number, name in enumerate(names)
    ]
    made, now_s = scheduler(*endpoints), 0.0
    for name, streams, took_s, tokens in draw(
        st.lists(
            st.tuples(
                st.sampled_from(names), st.booleans(), st.floats(0, 600), st.integers(0, 2**62)
            ),
            max_size=12,
        )
    ):
        now_s += 1
        attempt = place(made, "t", name, now_s=now_s, streams=streams, **CHAT)
        if streams:
            made.first_byte(attempt, now_s + took_s / 2)
            attempt.heard(9, now_s + took_s)
        now_s += took_s
        made.ended(attempt, ANSWERED, now_s, Used(tokens, 0, tokens))
    return made


@given(lives())
def test_what_was_learned_comes_back_through_the_file(made: Scheduler) -> None:
    learned = made.learned()
    kept = KeptLearned(1.5e9, learned)
    assert decode_learned(encode_learned(kept)) == kept
    endpoints = [state.endpoint for state in made.fleet.endpoints.values()]
    again = restarted(learned, *endpoints).learned()
    for then, now in zip(learned.deployments, again.deployments, strict=True):
        assert now.engines is None or now.engines.first == then.engines.first
        assert (now.id, now.probe_work) == (then.id, then.probe_work)
    by_id = {endpoint.id: endpoint for endpoint in again.endpoints}
    for then in learned.endpoints:
        now = by_id[then.id]
        assert (now.service is None) == (then.service is None)
        assert now.service is None or now.service.seconds == then.service.seconds
        assert (now.first_factor, now.step_factor) == pytest.approx(
            (then.first_factor, then.step_factor)
        )
    assert set(learned.workers) <= set(again.workers)
    assert (again.models, len(again.answers)) == (learned.models, len(learned.answers))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "truncated"),
        (b'{"schema": 1, "saved_at_s": 1, "lear', "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "got `array`"),
        (b'{"schema": 2, "of": "another release"}', "schema 2 is not 1"),
        (b'{"schema": 1, "saved_at_s": 1, "learned": {"workers": [{"id": "a", "url": "b", '
         b'"slots": 1, "places": 0}]}}', ">= 1"),
        (b'{"schema": 1, "saved_at_s": 1, "learned": {"models": [{"name": "m", '
         b'"bytes_per_token": 1e999}]}}', "out of range"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(body: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        decode_learned(body)


def test_whichever_byte_is_damaged_the_file_is_refused_or_does_no_harm() -> None:
    made = scheduler(SLOW, LLM)
    made.ended(place(made, "t", "slow"), ANSWERED, 0.5)
    learn_engine(made)
    whole = encode_learned(KeptLearned(1.5e9, made.learned()))
    for position in range(0, len(whole), 3):
        for byte in (b"\0", b"9", b"\xff"):
            try:
                kept = decode_learned(whole[:position] + byte + whole[position + 1 :])
            except ValueError:
                continue
            again = restarted(kept.learned, SLOW, LLM)
            again.ended(place(again, "t", "slow", now_s=NOW_S), ANSWERED, NOW_S + 0.5)
            place(again, "t", "llm", now_s=NOW_S, streams=True, **CHAT)
