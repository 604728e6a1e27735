"""What may be called and where: the routable part of the catalog, as the router sees it.

The control plane owns these rows and publishes them as one immutable snapshot
(:mod:`router.contracts.snapshot`); ids are the control plane's primary keys unless said otherwise.
"""

from msgspec import Struct

from router.domain.pricing import Price

DEFAULT_POLICY = "late_binding"


class Worker(Struct, frozen=True):
    """One addressable inference server. ``url`` is a base without a trailing slash.

    ``protocol`` is ``openai``, ``oip`` or ``oip_grpc`` (whose URL is ``grpc://host:port``);
    ``slots`` is how many requests it runs at once, ``reserved`` how many more it could, which are
    kept free for a benchmark. ``healthy`` is the prober's last word; the
    router also judges by itself. ``rtt_ms`` is the round trip to it: a local network's unless said
    otherwise. ``left_out`` says why it could not even be started, and is shown to clients.
    """

    id: str
    pool: str
    url: str
    protocol: str
    slots: int
    healthy: bool = True
    draining: bool = False
    rtt_ms: float = 1.0
    left_out: str = ""
    reserved: int = 0


class Pool(Struct, frozen=True):
    """Interchangeable workers on one kind of hardware. ``emulated`` is shown to people; ``engine``
    is the server that runs there by the name that its provider gave, "" where none was given.
    """

    name: str
    hardware: str
    emulated: bool = False
    engine: str = ""


class Model(Struct, frozen=True):
    """What is asked for by its public name ``author/slug``.

    ``task`` is ``chat``, ``embeddings``, ``tabular`` or ``vision``. Token limits are 0 where they
    have no meaning. ``inputs``/``outputs`` describe tensors of OIP calls, as
    ``(name, datatype, shape)``. ``takes`` is what a chat may hold besides text (values of
    :class:`router.domain.request.Modality`), None where nobody has said.
    """

    name: str
    task: str
    version: str
    created_s: int
    display_name: str = ""
    description: str = ""
    context_tokens_max: int = 0
    completion_tokens_max: int = 0
    emulated: bool = False
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    takes: tuple[str, ...] | None = None


class EngineCurve(Struct, frozen=True):
    """How long an LLM engine takes, as two sums of seconds.

    The first token comes after ``first · [1, answers under way, thousand prompt tokens ahead and
    own]``, each further one after ``step · [1, answers under way, ten thousand tokens attended to,
    thousand prompt tokens computed meanwhile]``. No weight is 0. An event of a stream carries
    ``event_tokens``.
    """

    first: tuple[float, float, float]
    step: tuple[float, float, float, float]
    event_tokens: float = 1.0


USUAL_ENGINE = EngineCurve((0.03, 0.001, 0.05), (0.05, 0.001, 0.005, 0.05))
"""One of the middle, for an 8B model on one GPU: where nothing else is known."""


class Deployment(Struct, frozen=True):
    """A provider's offering of a model version on a pool, with the price version in force.

    ``upstream_model`` is the name the workers know the model by. ``service_prior_ms`` is the
    benchmarked mean service time of one request, 0 where none was measured; ``batch_curve`` holds
    ``(concurrency, service time relative to one alone)``, empty where concurrency does not matter.
    ``engine_prior`` is what a benchmark of streamed answers says, where its workers are engines.
    ``parameters`` are the request fields that its workers act on, ``quantization`` is "" where it
    was not stated, and ``collects_data`` says that the provider keeps prompts or answers.
    """

    id: int
    model: str
    provider: str
    provider_account_id: int
    pool: str
    upstream_model: str
    price: Price
    commission_bps: int = 0
    service_prior_ms: float = 0.0
    batch_curve: tuple[tuple[int, float], ...] = ()
    engine_prior: EngineCurve | None = None
    quantization: str = ""
    parameters: tuple[str, ...] = ()
    collects_data: bool = False


class Endpoint(Struct, frozen=True):
    """A deployment on one of its workers: the thing that a request can be sent to.

    ``task`` and ``inputs`` are its model's.
    """

    id: str
    deployment: Deployment
    worker: Worker
    pool: Pool
    task: str = "chat"
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()


NO_WEIGHTS: dict[int, float] = {}


class Policy(Struct, frozen=True):
    """How a model is routed; ``kind`` names a file of ``router.scheduling.policies``.

    The weights turn everything into seconds of one score: ``wait_weight`` is what a second in the
    queue counts for against a second of service, ``usd_weight_s`` how many seconds a dollar is
    worth. ``hedge_share`` of the requests may run twice. A ``shared`` model is placed by every
    router over leased slots instead of by its owner alone. ``weights`` say, by deployment id, how
    much faster one is taken for than it is estimated to be (1 where none is given).
    """

    id: int
    version: int
    model: str
    kind: str = DEFAULT_POLICY
    wait_weight: float = 5.0
    usd_weight_s: float = 0.0
    hedge_share: float = 0.05
    shared: bool = False
    weights: dict[int, float] = NO_WEIGHTS


class Canary(Struct, frozen=True):
    """A policy version that is tried on ``share`` of its model's requests, from 0 to 1."""

    policy: Policy
    share: float


class RateLimits(Struct, frozen=True):
    """How much may be asked for; 0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    calls_at_once: int = 0


NO_LIMITS = RateLimits()


class Limit(Struct, frozen=True, gc=False):
    """Whose limits: ``scope`` is ``key:<id>`` or ``org:<id>``."""

    scope: str
    limits: RateLimits


class Organisation(Struct, frozen=True):
    """Who pays. Listed only when it is limited."""

    id: int
    limits: RateLimits = NO_LIMITS


class Budget(Struct, frozen=True, gc=False):
    """A cap on spending that the ledger keeps: of a key, of a member, or of the organisation whole.

    Which of them is told by ``key_id`` and ``user_id``; both are 0 for the organisation's own.
    """

    id: int
    organisation_id: int
    user_id: int = 0
    key_id: int = 0


class ApiKey(Struct, frozen=True):
    """A caller's credential as a digest (:func:`router.domain.keys.digest_key`), never in clear.

    An empty ``models`` allows every model. ``expires_at_s`` 0 means never (Unix seconds).
    ``user_id`` is the member who made it and whose budget it spends, 0 when nobody is.
    """

    id: int
    digest: str
    organisation_id: int
    account_id: int
    scopes: tuple[str, ...] = ("inference",)
    models: tuple[str, ...] = ()
    expires_at_s: int = 0
    limits: RateLimits = NO_LIMITS
    user_id: int = 0
