"""How many answers an engine runs at once, whatever it is configured with."""

from router.scheduling.worker_models.places import Places


def test_too_few_places_grow_with_the_answers_seen_at_once() -> None:
    places = Places(1)
    for decoding in range(1, 20):
        places.began(min(decoding, places.count + places.reserve), 1.0, 0.1, 0.1)
    assert places.count == 19


def test_too_many_places_shrink_when_prompts_wait_for_others_to_end() -> None:
    places = Places(16)
    for _ in range(10):
        places.began(3, 3.0, 2.0, 0.1)
    assert places.count == 3


def test_a_late_prompt_of_an_engine_with_room_says_nothing_of_its_places() -> None:
    places = Places(16)
    places.began(10, 9.0, 0.1, 0.1)
    for _ in range(10):
        places.began(4, 3.0, 2.0, 0.1)
    assert places.count == 16
