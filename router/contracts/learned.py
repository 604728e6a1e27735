"""What a router learned about workers, kept on its disk for its next start.

Entries are keyed by ids of the catalog and state what they were learned about, so an entry of
something that has changed since is not used. Tokens are means; ``samples`` counts observations.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from router.contracts.wire import UNREADABLE

LEARNED_SCHEMA = 1
MOST = 1e20
"""The largest figure allowed, so that sums over a damaged file stay finite."""

Positive = Annotated[float, Meta(gt=0, le=MOST)]
NotNegative = Annotated[float, Meta(ge=0, le=MOST)]
Count = Annotated[int, Meta(ge=0)]
Sum = Annotated[int, Meta(ge=0, le=2**53)]


class LearnedService(Struct, frozen=True):
    """Seconds per unit of work."""

    seconds: Positive
    samples: Count


class LearnedEngines(Struct, frozen=True):
    """How the engines of a deployment serve: the weights of their first token and of a step, and
    the mean request (:mod:`router.scheduling.worker_models.engine`).
    """

    first: tuple[Positive, Positive, Positive]
    first_samples: Count
    step: tuple[Positive, Positive, Positive, Positive]
    step_samples: Count
    prompt_tokens: NotNegative
    answer_tokens: NotNegative
    event_tokens: NotNegative


class LearnedDeployment(Struct, frozen=True):
    """What all workers of one deployment have shown together. ``probe_work`` 0 is unknown."""

    id: int
    upstream_model: str
    pool: str
    service: LearnedService | None = None
    probe_work: NotNegative = 0.0
    engines: LearnedEngines | None = None


class LearnedEndpoint(Struct, frozen=True):
    """What one deployment has shown on one worker; factors are relative to its siblings."""

    id: str
    upstream_model: str
    url: str
    service: LearnedService | None = None
    first_factor: Positive = 1.0
    step_factor: Positive = 1.0


class LearnedWorker(Struct, frozen=True):
    """How many answers an engine was found to run at once, while configured with ``slots``."""

    id: str
    url: str
    slots: int
    places: Annotated[int, Meta(ge=1, le=1_000_000)]


class LearnedModel(Struct, frozen=True):
    """The length of a token in a model's prompts."""

    name: str
    bytes_per_token: Positive


class LearnedCounts(Struct, frozen=True):
    """How a router's own count (``prompt``, ``stream``, ``whole``) relates to a model's tokens, and
    the tokens of a template and of an image; None if not observed.
    """

    name: str
    prompt: Positive | None = None
    stream: Positive | None = None
    whole: Positive | None = None
    template: Positive | None = None
    image: Positive | None = None


class Tally(Struct):
    """A deployment's token counts in its latest answers, next to the router's own counts.

    ``cut`` answers had more tokens than were believed; ``unbilled_tokens`` is the total excess.
    The sums are over prompts, pieces of streams, and the text of whole answers.
    """

    deployment_id: int
    answers: Sum = 0
    cut: Sum = 0
    unbilled_tokens: Sum = 0
    prompt_said: Sum = 0
    prompt_own: Sum = 0
    stream_said: Sum = 0
    stream_own: Sum = 0
    whole_said: Sum = 0
    whole_own: Sum = 0


class LearnedAnswer(Struct, frozen=True):
    """The length of a model's answers: for a tenant and a bound ``most``, or for all (-1)."""

    model: str
    tenant: int
    most: int
    tokens: NotNegative
    samples: Count


class Learned(Struct, frozen=True):
    """Everything that is kept."""

    deployments: tuple[LearnedDeployment, ...] = ()
    endpoints: tuple[LearnedEndpoint, ...] = ()
    workers: tuple[LearnedWorker, ...] = ()
    models: tuple[LearnedModel, ...] = ()
    answers: tuple[LearnedAnswer, ...] = ()
    counts: tuple[LearnedCounts, ...] = ()
    tallies: tuple[Tally, ...] = ()


class KeptLearned(Struct, frozen=True):
    """The content of the file. ``saved_at_s`` is Unix time."""

    saved_at_s: NotNegative
    learned: Learned
    schema: int = LEARNED_SCHEMA


class _Version(Struct):
    schema: int


def encode_learned(kept: KeptLearned) -> bytes:
    """Encode as JSON."""
    return msgspec.json.encode(kept)


def decode_learned(body: bytes) -> KeptLearned:
    """Parse and check; raises ``ValueError`` that names the field at fault."""
    try:
        schema = msgspec.json.decode(body, type=_Version).schema
        if schema == LEARNED_SCHEMA:
            return msgspec.json.decode(body, type=KeptLearned)
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"schema {schema} is not {LEARNED_SCHEMA}: it is another release's")
