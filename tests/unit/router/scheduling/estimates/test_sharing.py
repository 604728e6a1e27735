"""What tells an engine from slots when answers come whole."""

from random import Random

import pytest

from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.estimates.sharing import OVERTAKEN_MAX, Sharing
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Used
from router.scheduling.worker_models.places import WHOLE_ENDS, Places
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

CHAT = {"prompt_bytes": 2_000, "prompt_tokens": 500.0, "answer_tokens": 100.0}


def answers(sharing: Sharing, count: int, seed: int, *, shared: bool, sized: bool = True) -> int:
    """Answers of a worker with up to eight at once; returns how many it took to tell."""
    random = Random(seed)
    for number in range(count):
        beside = random.randrange(8)
        answer = max(round(random.lognormvariate(4.5, 0.6)), 1)
        prompt = round(random.lognormvariate(6.5, 0.6))
        service_s = 0.1 + 0.0001 * prompt + 0.01 * answer
        if not sized:
            service_s = random.expovariate(1.0)
        if shared:
            service_s += 0.002 * answer * beside + 0.0001 * 500 * beside
        service_s *= random.lognormvariate(0.0, 0.15)
        sharing.answered(Used(prompt, 0, answer), beside, 500.0 * beside, service_s)
        if sharing.is_shown:
            return number + 1
    return count


@pytest.mark.parametrize("seed", range(5))
def test_requests_that_slow_each_other_are_found_within_a_hundred_answers(seed: int) -> None:
    assert answers(Sharing(), 100, seed, shared=True) < 100


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unpredictable"])
@pytest.mark.parametrize("seed", range(20))
def test_slots_are_not_taken_for_shared_whatever_sizes_are(seed: int, sized: bool) -> None:
    sharing = Sharing()
    answers(sharing, 2_000, seed, shared=False, sized=sized)
    assert not sharing.is_shown


def test_a_worker_that_counts_cached_tokens_makes_all_of_its_model_engines() -> None:
    sharing = Sharing()
    sharing.answered(Used(500, 0, 100), 0, 0.0, 1.0)
    assert not sharing.is_shown
    sharing.answered(Used(500, 256, 100), 0, 0.0, 1.0)
    assert sharing.is_shown


def overtake(made: Scheduler, times: int, **asked: object) -> None:
    """Two at a time on a worker with one configured slot, and the second ends first."""
    for number in range(times):
        now_s = 10.0 * number
        first, second = (place(made, f"{number}{n}", "one", now_s=now_s, **asked) for n in "ab")
        made.ended(second, ANSWERED, now_s + 1.0, Used(500, 0, 100))
        made.ended(first, ANSWERED, now_s + 1.1, Used(500, 0, 100))


def become_engine(made: Scheduler) -> bool:
    return made.fleet.endpoints["one"].service.shared.has_engines


def test_answers_that_end_before_those_they_wait_for_tell_that_there_are_more_places() -> None:
    made = scheduler(endpoint("one", slots=1))
    overtake(made, OVERTAKEN_MAX - 1, **CHAT)
    assert not become_engine(made)
    overtake(made, 1, **CHAT)
    assert become_engine(made)


def test_what_is_no_generation_never_makes_an_engine() -> None:
    made = scheduler(endpoint("one", slots=1))
    overtake(made, 10)
    assert not become_engine(made)


def test_one_engine_makes_all_workers_of_its_model_engines() -> None:
    made = scheduler(endpoint("one"), endpoint("two"), endpoint("another"))
    attempt = place(made, "t", "one", "two", **CHAT)
    made.ended(attempt, ANSWERED, 1.0, Used(500, 256, 100))
    engines = [name for name, s in made.fleet.endpoints.items() if s.service.shared.has_engines]
    assert engines == ["one", "two"]


# Places of whole answers


def test_too_few_places_grow_with_whole_answers_that_end_out_of_turn() -> None:
    random, places = Random(1), Places(1)
    for _ in range(60):
        places.ended(random.randint(1, places.count + places.reserve))
    assert places.count > 40


def test_an_engine_that_shows_no_more_is_sent_but_a_few_more() -> None:
    places = Places(4)
    places.ended(5)
    assert places.reserve == 5
    for _ in range(WHOLE_ENDS):
        places.ended(3)
    assert (places.count, places.reserve) == (5, 1)
