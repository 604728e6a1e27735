"""What can be called and where: the part of the catalog that the router needs.

The control plane owns these rows and publishes them as one immutable snapshot
(:mod:`router.contracts.snapshot`). Ids are the control plane's primary keys unless noted.
"""

from msgspec import Struct

from router.domain.pricing import Price
from router.domain.request import MaxPrice

DEFAULT_POLICY = "late_binding"
OWN = "own"
"""The provider, in wishes, of what an organisation lists for itself alone."""
OWN_MARK = "~"
"""What the names of such models, pools and workers begin with; nothing of the market's does."""


RESPONSES = "responses"
"""Among the parameters of a deployment: its workers speak OpenAI's Responses API beside chat."""


class Worker(Struct, frozen=True):
    """One addressable inference server. ``url`` is a base without a trailing slash.

    ``protocol`` is one of :data:`router.domain.protocols.PROTOCOL_KINDS`; the URL of ``oip_grpc``
    is ``grpc://host:port``. ``sealed_key`` is the key of an organisation's own endpoint, which
    stays sealed (:mod:`router.contracts.sealing`) until it is called.
    ``slots`` is how many requests it runs at once; ``reserved`` is how many more it could run,
    kept free for a benchmark. ``healthy`` is the prober's latest result; the router also judges
    by itself. ``rtt_ms`` is the round trip to it, by default that of a local network.
    ``left_out`` says why it could not be started, and is shown to clients. On ``kv_events_port`` of
    its host it publishes what is in its KV cache (0: it does not), and on ``kv_replay_port`` it
    repeats what was missed.
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
    kv_events_port: int = 0
    kv_replay_port: int = 0
    sealed_key: str = ""


class Pool(Struct, frozen=True):
    """Interchangeable workers on one kind of hardware.

    ``emulated`` is shown to people. ``engine`` is the inference server that runs there, as its
    provider names it, or "". ``start_s`` says that a worker is started for calls that wait while
    there is none, and about how long that takes; 0: none is, and calls are refused.
    """

    name: str
    hardware: str
    emulated: bool = False
    engine: str = ""
    start_s: float = 0.0


class Own(Struct, frozen=True):
    """Who alone sees and calls a model, and what it does for a model of the market.

    Calls for ``stands_for`` go to it first. If it cannot take them and ``spills``, they go to the
    market, where they cost at most ``market_max``.
    """

    organisation_id: int
    stands_for: str = ""
    spills: bool = False
    market_max: MaxPrice | None = None


class Model(Struct, frozen=True):
    """A model, called by its public name ``author/slug``.

    One that is ``own`` is an organisation's, and is called ``~organisation/slug``.

    ``task`` is one of :data:`router.domain.protocols.TASKS`. Token limits are 0 where they have no
    meaning. ``inputs``/``outputs`` describe tensors of OIP calls, as
    ``(name, datatype, shape)``. ``takes`` is what a chat may hold besides text (values of
    :class:`router.domain.request.Modality`), None if unknown.
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
    own: Own | None = None


class EngineCurve(Struct, frozen=True):
    """How long an LLM engine takes, as two weighted sums in seconds.

    Time to the first token: ``first · [1, running answers, thousand prompt tokens of this call and
    of those before it]``. Time for each further token: ``step · [1, running answers, ten thousand
    tokens attended to, thousand prompt tokens computed meanwhile]``. No weight is 0. One event of a
    stream carries ``event_tokens`` tokens.
    """

    first: tuple[float, float, float]
    step: tuple[float, float, float, float]
    event_tokens: float = 1.0


USUAL_ENGINE = EngineCurve((0.03, 0.001, 0.05), (0.05, 0.001, 0.005, 0.05))
"""The default, where nothing else is known: typical of an 8B model on one GPU."""


class Deployment(Struct, frozen=True):
    """A provider's offering of a model version on a pool, with the price version in force.

    ``upstream_model`` is the model's name on the workers. ``service_prior_ms`` is the benchmarked
    mean service time of one request, 0 if not measured; ``batch_curve`` holds
    ``(concurrency, service time relative to one request alone)``, empty where concurrency does not
    matter. ``engine_prior`` comes from a benchmark of streamed answers, for workers that are LLM
    engines. ``parameters`` are the request fields that its workers act on, and :data:`RESPONSES`;
    ``quantization`` is "" if not stated, and ``collects_data`` says that the provider keeps prompts
    or answers.
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
    """A deployment on one of its workers: what a request can be sent to.

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

    The weights turn everything into seconds of one score: ``wait_weight`` is how much a second in
    the queue counts against a second of service, ``usd_weight_s`` is how many seconds a dollar is
    worth. ``hedge_share`` of the requests may run twice. A ``shared`` model is placed by every
    router, over leased slots, instead of by its owner alone. ``weights`` say, by deployment id, by
    which factor a deployment is treated as faster than estimated (default 1).
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
    """A policy version on trial for ``share`` of its model's requests, from 0 to 1."""

    policy: Policy
    share: float


class RateLimits(Struct, frozen=True):
    """How much a caller may request, and spend (nano-USD); 0 means no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    calls_at_once: int = 0
    nano_per_day: int = 0


NO_LIMITS = RateLimits()


class Limit(Struct, frozen=True, gc=False):
    """Limits, and what is counted together under them: ``scope`` is ``key:<id>``, ``org:<id>``, …

    ``whose`` begins the sentence that a refused caller gets. Where a router counts too many scopes,
    this one's calls count under ``pooled``, if it is set.
    """

    scope: str
    limits: RateLimits
    whose: str
    pooled: str = ""


class LimitRule(Struct, frozen=True):
    """Limits of some calls of a key: of one model, of ``each_user`` by itself, or of both.

    ``model`` is "" for every model. ``each_user`` is about the end users that the key's owner has.
    """

    model: str = ""
    each_user: bool = False
    limits: RateLimits = NO_LIMITS


class Guard(Struct, frozen=True, gc=False):
    """A moderation model that judges calls before they run (``inputs``), or their ``answers``.

    With ``passes``, what it cannot judge goes on; else it is refused.
    """

    model: str
    inputs: bool = True
    answers: bool = False
    passes: bool = False

    def and_also(self, other: "Guard") -> tuple["Guard", ...]:
        """What judges for both: one guard if their models are the same."""
        if self.model != other.model:
            return (self, other)
        return (
            Guard(
                self.model,
                inputs=self.inputs or other.inputs,
                answers=self.answers or other.answers,
                passes=self.passes and other.passes,
            ),
        )


class Organisation(Struct, frozen=True):
    """The organisation that pays. Listed only when it differs from these defaults.

    ``masks`` are the kinds of personal data (:class:`router.domain.personal.Personal`) that are
    masked in its calls, ``guard`` judges them.
    """

    id: int
    limits: RateLimits = NO_LIMITS
    keeps_responses: bool = True
    masks: tuple[str, ...] = ()
    guard: Guard | None = None


class Budget(Struct, frozen=True, gc=False):
    """A cap on spending that the ledger keeps, for a key, a member or the whole organisation.

    ``key_id`` or ``user_id`` tells which; both are 0 for the organisation's own.
    """

    id: int
    organisation_id: int
    user_id: int = 0
    key_id: int = 0


class Preset(Struct, frozen=True):
    """What an organisation's calls say by a name: the version in force of ``@preset/<name>``.

    ``model`` is "" if calls name one themselves. ``system`` are instructions, "" for none.
    ``fields`` is the text of a JSON object: the other fields of a body.
    """

    organisation_id: int
    name: str
    version: int
    model: str = ""
    system: str = ""
    fields: str = "{}"


class ApiKey(Struct, frozen=True):
    """A caller's credential as a digest (:func:`router.domain.keys.digest_key`), never in clear.

    An empty ``models`` allows every model. ``expires_at_s`` 0 means never (Unix seconds).
    ``user_id`` is the member who made it and whose budget it spends, 0 for none. ``masks`` are
    masked in its calls besides those of its organisation, and ``guard`` judges them besides its.
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
    rules: tuple[LimitRule, ...] = ()
    masks: tuple[str, ...] = ()
    guard: Guard | None = None
