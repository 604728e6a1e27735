"""The scenarios: a fleet, what happens to it, and the load. Times count from the load's start."""

from math import inf

import msgspec
from msgspec import Struct

from router.simulator.engines.scenarios import EngineScenario, engine_scenarios
from router.simulator.engines.sessions import Load as Chats
from tests.judge.workers.hardware import (
    Hardware,
    SlotClass,
    Trouble,
    Window,
    Worker,
    capacity_hz,
    fleet,
)


class Phase(Struct, frozen=True):
    """A rate in calls per second, for a duration."""

    seconds: float
    calls_hz: float


class Poisson(Struct, frozen=True):
    """An open loop: calls arrive independently of earlier ones. Phases repeat."""

    phases: tuple[Phase, ...]
    streamed: bool = False

    def calls_hz(self, at_s: float) -> float:
        """The rate at a moment."""
        left_s = at_s % sum(phase.seconds for phase in self.phases)
        for phase in self.phases:
            if left_s < phase.seconds:
                return phase.calls_hz
            left_s -= phase.seconds
        return self.phases[0].calls_hz


class Closed(Struct, frozen=True):
    """Callers who call again as soon as they have an answer: how many a second can there be?"""

    callers: int = 32
    streamed: bool = False


class Goal(Struct, frozen=True):
    """When an answer counts as good: whole, first byte, and each event after it, in ms."""

    whole_ms: float = inf
    first_ms: float = inf
    event_ms: float = inf


class Scenario(Struct, frozen=True):
    """One row of the comparison. Calls that come before ``warm_up_s`` are not counted.

    ``lanes`` targets are measured side by side, each with its own fleet, so that they see the
    same minute of a noisy machine. A run whose own lag reaches ``lag_ms_max`` is not trusted.
    """

    name: str
    workers: tuple[Worker, ...]
    load: Poisson | Closed | Chats
    goal: Goal
    seconds: float = 40.0
    warm_up_s: float = 10.0
    upstream_timeout_s: float = 5.0
    timeout_s: float = 15.0
    lanes: int = 6
    lag_ms_max: float = 20.0

    @property
    def stages(self) -> dict[str, tuple[float, float]]:
        """Before, during and after what happens to the fleet; nothing where nothing does."""
        windows = [window for worker in self.workers for window in worker.windows]
        if not windows:
            return {}
        from_s = max(min(window.from_s for window in windows), self.warm_up_s)
        to_s = min(max(window.to_s for window in windows), self.seconds)
        stages = {
            "before": (self.warm_up_s, from_s),
            "during": (from_s, to_s),
            "after": (to_s, self.seconds),
        }
        return {name: (begin, end) for name, (begin, end) in stages.items() if end > begin}


TWELVE = fleet(
    (2, SlotClass("A", 100)),
    (3, SlotClass("B", 150)),
    (4, SlotClass("C", 300)),
    (3, SlotClass("D", 1000)),
)
CAPACITY_HZ = capacity_hz(TWELVE)
SLOT_GOAL = Goal(whole_ms=600)


def _troubled(
    workers: tuple[Worker, ...], windows: dict[str, tuple[Window, ...]]
) -> tuple[Worker, ...]:
    """Windows by a worker's name or its kind."""
    return tuple(
        msgspec.structs.replace(
            worker,
            windows=windows.get(worker.name, ()) + windows.get(worker.hardware.kind, ()),
        )
        for worker in workers
    )


def _steady(load: float) -> Poisson:
    return Poisson((Phase(60, load * CAPACITY_HZ),))


def _slots(
    name: str,
    load: float | Poisson,
    *,
    windows: dict[str, tuple[Window, ...]] | None = None,
    seconds: float = 40,
    warm_up_s: float = 10,
) -> Scenario:
    return Scenario(
        name,
        _troubled(TWELVE, windows or {}),
        load if isinstance(load, Poisson) else _steady(load),
        SLOT_GOAL,
        seconds=seconds,
        warm_up_s=warm_up_s,
    )


def _every(
    trouble: Trouble, from_s: float, to_s: float, *, on_s: float, each_s: float
) -> tuple[Window, ...]:
    """The same trouble again and again."""
    count = int((to_s - from_s) / each_s)
    starts = [from_s + at * each_s for at in range(count)]
    return tuple(Window(trouble, start, start + on_s) for start in starts)


def _hung_in_turn() -> dict[str, tuple[Window, ...]]:
    names = [worker.name for worker in TWELVE[:5]]
    return {name: (Window(Trouble.HANG, 8 + 6 * at, 12 + 6 * at),) for at, name in enumerate(names)}


def _without_work(
    name: str, load: Poisson | Closed, hardware: Hardware, goal_ms: float
) -> Scenario:
    """What a gateway itself costs: one at a time, before workers that answer at once."""
    return Scenario(
        name,
        fleet((12, hardware)),
        load,
        Goal(whole_ms=goal_ms),
        seconds=8,
        warm_up_s=1,
        lanes=1,
        lag_ms_max=2 if isinstance(load, Poisson) else inf,
    )


AT_ONCE = SlotClass("Z", 0, slots=1000)
EVENTS_50 = SlotClass("Z", 0, slots=1000, events=50)
TENTH = SlotClass("Z", 100, slots=1000, sigma=0, events=50, first_share=0.02)


def _engines(simulated: EngineScenario) -> Scenario:
    """The simulator's scenario, in real time."""
    workers = tuple(
        Worker(
            f"w{at:02}",
            engine,
            tuple(
                Window(Trouble(event.trouble.value), event.from_s, event.to_s, event.factor)
                for event in engine.events
            ),
        )
        for at, engine in enumerate(simulated.engines)
    )
    return Scenario(
        simulated.name,
        workers,
        simulated.load,
        Goal(first_ms=simulated.slo_ttft_s * 1e3, event_ms=simulated.slo_token_s * 1e3),
        seconds=simulated.duration_s,
        warm_up_s=simulated.warm_up_s,
        upstream_timeout_s=60,
        timeout_s=simulated.client_timeout_s,
        lag_ms_max=30,
    )


_LIST = (
    # Slots; loads are shares of what the fleet can do.
    _slots("hetero50", 0.5),
    _slots("hetero70", 0.7),
    _slots("hetero85", 0.85),
    _slots("overload", 1.1),
    _slots("burst", Poisson((Phase(7, 0.4 * CAPACITY_HZ), Phase(3, 1.3 * CAPACITY_HZ)))),
    _slots(
        "coldstart",
        0.6,
        seconds=20,
        warm_up_s=0,
    ),
    _slots(
        "straggler",
        0.6,
        seconds=45,
        warm_up_s=5,
        windows={"w00": (Window(Trouble.SLOW, 12, 32, 10),)},
    ),
    _slots(
        "failure",
        0.5,
        warm_up_s=5,
        windows={
            "w00": (Window(Trouble.CRASH, 10, 25),),
            "w02": (Window(Trouble.HANG, 10, 25),),
        },
    ),
    _slots("http500", 0.5, warm_up_s=5, windows={"w00": (Window(Trouble.HTTP_500, 10, 25),)}),
    _slots("limited", 0.5, warm_up_s=5, windows={"A": (Window(Trouble.LIMIT, 0, 40, 8),)}),
    _slots(
        "flapping",
        0.5,
        warm_up_s=5,
        windows={"w00": _every(Trouble.CRASH, 8, 38, on_s=2, each_s=4)},
    ),
    _slots("hang-in-turn", 0.5, warm_up_s=5, windows=_hung_in_turn()),
    # A gateway's own cost.
    _without_work("overhead", Poisson((Phase(60, 100),)), AT_ONCE, 50),
    _without_work("overhead-stream", Poisson((Phase(60, 20),), streamed=True), TENTH, 200),
    _without_work("max", Closed(), AT_ONCE, inf),
    _without_work("max-stream", Closed(streamed=True), EVENTS_50, inf),
)
_ENGINES = [
    _engines(engine_scenario)
    for engine_scenario in engine_scenarios().values()
    if len(engine_scenario.load.tenants) == 1  # All calls are one customer's here.
]
SCENARIOS = {scenario.name: scenario for scenario in (*_LIST, *_ENGINES)}
