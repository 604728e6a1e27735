"""Several routers over the same engines, in virtual time."""

from random import Random

from msgspec.structs import replace

from router.simulator.engines.compare import figures_of
from router.simulator.engines.scenarios import EngineScenario, engine_scenarios
from router.simulator.engines.scheduled import Scheduled
from router.simulator.engines.several_routers import ALONE, Several
from router.simulator.engines.simulation import Call, EngineSimulation, Placer, simulate_engines

SEED = 1


def scenario(name: str) -> EngineScenario:
    return replace(engine_scenarios()[name], duration_s=30.0, warm_up_s=8.0)


def mean_ms(name: str, placer: Placer) -> float:
    """Every error counts as long as the caller's patience."""
    one = scenario(name)
    return figures_of("", one, simulate_engines(one, placer, SEED)).penalised_ms


def test_two_routers_that_tell_each_other_lose_less_than_a_tenth_to_one() -> None:
    alone_ms = mean_ms("e-sess75", Scheduled(seed=SEED))
    assert mean_ms("e-sess75", Several(SEED)) < 1.1 * alone_ms
    assert mean_ms("e-sess75", Several(SEED, silent=True)) > 1.15 * alone_ms


class Apart(Several):
    """The second router has its own model, on the two best engines alone."""

    def begin(self, simulation: EngineSimulation) -> None:
        super().begin(simulation)
        self.routers[1]._candidates = self.routers[1]._candidates[1:4]


def test_a_model_of_another_router_on_some_of_the_engines_is_allowed_for() -> None:
    alone_ms = mean_ms("e-mixed75", Scheduled(seed=SEED))
    silent_ms = mean_ms("e-mixed75", Apart(SEED, silent=True))
    assert mean_ms("e-mixed75", Apart(SEED)) < min(1.5 * alone_ms, 0.9 * silent_ms)


class Past(Scheduled):
    """A quarter of the calls goes past the router to two of the A100s; engines that are asked say
    each second what they have.
    """

    def __init__(self, *, asked: bool) -> None:
        super().__init__(seed=SEED, lacks=frozenset() if asked else ALONE)
        self._past = Random("past")

    def arrived(self, call: Call) -> None:
        if self._past.random() < 0.25:
            sequence = self._simulation.sequence(call)
            sequence.placed = Strange()
            self._simulation.send(sequence, self._past.choice((1, 2)))
        else:
            super().arrived(call)

    def left(self, call: Call) -> None:
        if call.placed is not None:
            super().left(call)


class Strange:
    """No attempt of ours."""

    answering = False
    is_probe = False


def test_calls_that_go_past_the_router_are_allowed_for_once_engines_are_asked() -> None:
    blind_ms = mean_ms("e-mixed75", Past(asked=False))
    assert mean_ms("e-mixed75", Past(asked=True)) < 0.97 * blind_ms
