"""What a face is: how its calls are read, and its answers, errors and description written."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from router.domain.errors import CallError
from router.domain.request import InferenceRequest
from router.ingress.describing import Schema
from router.ingress.faces.responses.items import NOTHING_EARLIER, Earlier
from router.ingress.http.exchange import Exchange, Sink
from router.ingress.progress import Progress
from router.pipeline.client import Client
from router.pipeline.plans.routing_table import EMPTY_TABLE, RoutingTable


class Arrival(Struct, frozen=True, gc=False):
    """One call that came. ``arrived_s`` is on the monotonic clock, ``created_at_ms`` Unix time.

    ``table`` is for faces that read a body by its model. ``streams`` says that another router wants
    each answer as it comes. ``earlier`` is what was kept of turns that it names; ``is_kept`` says
    that it will be kept itself, by the ``response_key`` where it has an id already.
    """

    request_id: str
    arrived_s: float
    created_at_ms: int
    explain: bool = False
    streams: bool = False
    table: RoutingTable = EMPTY_TABLE
    earlier: Earlier = NOTHING_EARLIER
    is_kept: bool = False
    response_key: str = ""


Answering = Callable[[Sink, InferenceRequest, Progress | None], Client]
"""Makes the client that writes a call's answer, usage included."""


class Face(Struct, frozen=True):
    """One dialect at one path, or below it if ``is_root``. It answers ``POST``.

    ``read`` gives the call, sized and checked, and what writes its answer, or raises a
    ``CallError``. A stream that ends with ``ending`` is whole. ``error`` renders an error, also for
    paths below ``path``.
    """

    path: str
    read: Callable[[Exchange, Arrival], tuple[InferenceRequest, Answering]]
    error: Callable[[CallError], bytes]
    ending: bytes
    described: Mapping[str, Schema]
    schemas: Mapping[str, Schema]
    is_root: bool = False
