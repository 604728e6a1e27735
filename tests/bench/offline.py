"""Streams of a simulated engine as LoadGen's offline scenario measures them."""

from collections.abc import Sequence
from random import Random

from marketplace.benchmarks.loadgen.samples import Sample
from router.simulator.engines import batching
from router.simulator.engines.batching import EngineState


def kept_in_flight(
    engine: EngineState, load: int, *, prompts: Sequence[int], answer_events: int, count: int = 96
) -> list[Sample]:
    """So many requests at once, each followed by the next, ``count`` in total.

    ``prompts`` are the tokens of a prompt, of which each request draws one.
    """
    random = Random(load)
    flying: dict[batching.Sequence, tuple[float, float]] = {}
    found: list[Sample] = []

    def send(now_s: float) -> None:
        events = max(2, round(answer_events * random.choice((0.9, 1.0, 1.1))))
        answer = batching.one_segment(len(found) + len(flying))
        request = batching.Sequence((), random.choice(prompts), events, answer)
        flying[request] = (now_s, 0.0)
        engine.submit(request, now_s)

    for _ in range(load):
        send(0.0)
    while flying:
        now_s = engine.ends_s
        joined, ended = engine.finish()
        for request in joined:
            flying[request] = (flying[request][0], now_s)
        for request in ended:
            begun_s, first_s = flying.pop(request)
            found.append(
                Sample(
                    begun_s,
                    (now_s - begun_s) * 1e3,
                    (first_s - begun_s) * 1e3,
                    request.answer_events * engine.spec.event_tokens,
                    prompt_tokens=request.prompt_tokens,
                    events=request.answer_events,
                )
            )
            if len(found) + len(flying) < count:
                send(now_s)
    return found
