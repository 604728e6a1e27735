"""What of a router's ``GET /admin/state`` is read here. What it lacks is taken as nothing."""

from msgspec import Struct


class EngineExpected(Struct, frozen=True):
    """What a router expects of a typical request on an engine: ``prompt_tokens`` of it are not
    cached. ``hit_rate`` is the share of its latest prompts that was, None before any; factors are
    relative to the other engines of the deployment.
    """

    prompt_tokens: int
    first_token_ms: float
    token_ms: float
    hit_rate: float | None
    first_factor: float
    step_factor: float


class EngineBatch(Struct, frozen=True):
    """What one router has on an engine: answers that are decoded, prompts without a first token
    and the tokens of those to compute, tokens that are attended to.
    """

    decoding: int
    prompts_waiting: int
    pending_tokens: int
    context_tokens: int
    has_room: bool
    ramping: bool


class EndpointState(Struct, frozen=True):
    """A deployment on a worker: ``service_ms`` is what the router expects of a mean request."""

    model: str
    pool: str
    service_ms: float
    samples: int
    in_flight: int = 0
    engine: EngineExpected | None = None


class WorkerState(Struct, frozen=True):
    """``slots`` are those that the router may use, ``limit`` those that it uses at present."""

    id: str
    slots: int
    limit: int
    in_flight: int
    ejected_s: float
    consecutive_failures: int
    endpoints: tuple[EndpointState, ...] = ()
    engine: EngineBatch | None = None


class CountedState(Struct, frozen=True):
    """How a deployment's workers counted tokens in their last answers (``said``), beside the
    router's own counts, and the medians of its model. ``cut`` answers said more than is believed.
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
    """Calls that wait, and those that have ended and failed since the router's start."""

    waiting: int
    ended: int
    failed: int


class RouterState(Struct, frozen=True):
    """One router, now."""

    snapshot_version: int
    waiting: int
    unsettled: int
    workers: tuple[WorkerState, ...]
    router_id: str = ""
    draining: bool = False
    models: dict[str, ModelState] = {}
    counted: tuple[CountedState, ...] = ()
