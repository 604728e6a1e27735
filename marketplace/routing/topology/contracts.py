"""The part of a router's ``GET /admin/state`` that is read here. Missing fields have defaults."""

from msgspec import Struct


class EngineExpected(Struct, frozen=True):
    """A router's estimate of a typical request on an engine. ``prompt_tokens`` are not cached;
    ``hit_rate`` is the cached share of the latest prompts, None before any. Factors are relative
    to the deployment's other engines.
    """

    prompt_tokens: int
    first_token_ms: float
    token_ms: float
    hit_rate: float | None
    first_factor: float
    step_factor: float


class EngineBatch(Struct, frozen=True):
    """One router's load on an engine: answers being decoded, prompts without a first token, prompt
    tokens still to compute, and context tokens.
    """

    decoding: int
    prompts_waiting: int
    pending_tokens: int
    context_tokens: int
    has_room: bool
    ramping: bool


class EndpointState(Struct, frozen=True):
    """A deployment on a worker; ``service_ms`` is the router's estimate for a mean request."""

    model: str
    pool: str
    service_ms: float
    samples: int
    in_flight: int = 0
    engine: EngineExpected | None = None


class WorkerState(Struct, frozen=True):
    """A worker; ``slots`` are those that the router may use, ``limit`` those that it uses now."""

    id: str
    slots: int
    limit: int
    in_flight: int
    ejected_s: float
    consecutive_failures: int
    endpoints: tuple[EndpointState, ...] = ()
    engine: EngineBatch | None = None


class CountedState(Struct, frozen=True):
    """Token counts of a deployment's last answers: as its workers reported them (``said``), as the
    router counted them, and its model's medians. ``cut`` answers reported more than is accepted.
    """

    deployment_id: int
    answers: int = 0
    cut: int = 0
    unbilled_tokens: int = 0
    prompt_said: int = 0
    prompt_own: int = 0
    prompt_median: float = 1.0
    stream_said: int = 0
    stream_own: int = 0
    stream_median: float = 1.0
    whole_said: int = 0
    whole_own: int = 0
    whole_median: float = 1.0


class ModelState(Struct, frozen=True):
    """A model's waiting calls, and calls ended and failed since the router's start."""

    waiting: int
    ended: int
    failed: int


class RouterState(Struct, frozen=True):
    """The state of one router."""

    snapshot_version: int
    waiting: int
    unsettled: int
    workers: tuple[WorkerState, ...]
    router_id: str = ""
    snapshot_age_s: float = 0.0
    draining: bool = False
    models: dict[str, ModelState] = {}
    counted: tuple[CountedState, ...] = ()
