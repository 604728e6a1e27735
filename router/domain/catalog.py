"""What may be called and where: the routable part of the catalog, as the router sees it.

The control plane owns these rows and publishes them as one immutable snapshot
(:mod:`router.contracts.snapshot`); ids are the control plane's primary keys unless said otherwise.
"""

from msgspec import Struct

from router.domain.pricing import Price


class Worker(Struct, frozen=True):
    """One addressable inference server. ``url`` is a base without a trailing slash.

    ``protocol`` is ``openai`` or ``oip``; ``slots`` is how many requests it runs at once.
    ``healthy`` is the prober's last word; the router also judges by itself.
    """

    id: str
    pool: str
    url: str
    protocol: str
    slots: int
    healthy: bool = True
    draining: bool = False


class Pool(Struct, frozen=True):
    """Interchangeable workers on one kind of hardware. ``emulated`` is shown to people."""

    name: str
    hardware: str
    emulated: bool = False


class Model(Struct, frozen=True):
    """What is asked for by its public name ``author/slug``.

    ``task`` is ``chat``, ``embeddings``, ``tabular`` or ``vision``. Token limits are 0 where they
    have no meaning. ``inputs``/``outputs`` describe tensors for OIP metadata, as
    ``(name, datatype, shape)``.
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


class Deployment(Struct, frozen=True):
    """A provider's offering of a model version on a pool, with the price version in force.

    ``upstream_model`` is the name the workers know the model by. ``service_prior_ms`` is the
    benchmarked mean service time of one request, 0 where none was measured.
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


class Endpoint(Struct, frozen=True):
    """A deployment on one of its workers: the thing that a request can be sent to."""

    id: str
    deployment: Deployment
    worker: Worker
    pool: Pool


class Policy(Struct, frozen=True):
    """How a model is routed; ``kind`` names a file of ``router.scheduling.policies``."""

    id: int
    version: int
    model: str
    kind: str = "late_binding"


class ApiKey(Struct, frozen=True):
    """A caller's credential as a digest (:func:`router.domain.keys.digest_key`), never in clear.

    An empty ``models`` allows every model. ``expires_at_s`` 0 means never (Unix seconds).
    """

    id: int
    digest: str
    organisation_id: int
    account_id: int
    scopes: tuple[str, ...] = ("inference",)
    models: tuple[str, ...] = ()
    expires_at_s: int = 0
