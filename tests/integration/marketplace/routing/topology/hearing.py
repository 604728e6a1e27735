"""Stand-ins for routers, and what they say."""

from marketplace.routing.topology.contracts import (
    EndpointState,
    EngineBatch,
    EngineExpected,
    ModelState,
    RouterState,
    WorkerState,
)
from marketplace.routing.topology.polling import REFRESH_S, Member, Unheard, Watch


def said(
    *,
    in_flight: int = 0,
    waiting: int = 0,
    ended: int = 0,
    failed: int = 0,
    limit: int = 2,
    ejected_s: float = 0.0,
    version: int = 99,
    samples: int = 0,
    service_ms: float = 50.0,
    engine: EngineBatch | None = None,
    expected: EngineExpected | None = None,
) -> RouterState:
    """What a router of the shop's one worker says."""
    endpoint = EndpointState("author/slug", "fast", service_ms, samples, in_flight, expected)
    worker = WorkerState(
        "fast-0", 2, limit, in_flight, ejected_s, 3 if ejected_s else 0, (endpoint,), engine
    )
    return RouterState(
        snapshot_version=version,
        waiting=waiting,
        unsettled=0,
        workers=(worker,),
        models={"author/slug": ModelState(waiting, ended, failed)},
    )


class Routers:
    """Stand-ins for routers that say what a test wants, under its own clock."""

    def __init__(self, **states: RouterState | str) -> None:
        self.now_s = 100.0
        self.asked = 0
        self.states = states
        self.silent_members: set[str] = set()
        self.watch = Watch(
            members=self.members, fetch=self.fetch, clock=lambda: self.now_s, wall=lambda: 0.0
        )

    def members(self) -> list[Member]:
        return [
            Member(name, f"http://{name}", name not in self.silent_members) for name in self.states
        ]

    def fetch(self, member: Member) -> RouterState:
        self.asked += 1
        state = self.states[member.router_id]
        if isinstance(state, str):
            raise Unheard(state)
        return state

    def later(self, seconds: float = REFRESH_S) -> None:
        self.now_s += seconds
