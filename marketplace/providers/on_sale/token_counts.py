"""How a deployment's workers count tokens, compared with what the routers saw."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Deployment
from marketplace.routing.topology.contracts import CountedState
from marketplace.routing.topology.polling import Reading

WAYS: tuple[tuple[str, str | Promise], ...] = (
    ("prompt", _("Prompts, per 4 bytes")),
    ("stream", _("Streams, per chunk")),
    ("whole", _("Whole answers, per 4 bytes")),
)
BELIEVED = 2.0
"""How many times the median of its model a worker is believed: as the router's ``TOLERANCE``."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Tokens that workers report per token that the router counts, and the model's median."""

    of: str
    label: str | Promise
    ratio: float
    median: float

    @property
    def most(self) -> float:
        """The ratio that is accepted, apart from short answers and templates."""
        return BELIEVED * self.median

    @property
    def is_high(self) -> bool:
        return self.ratio > self.most


@dataclass(frozen=True, slots=True)
class Counted:
    """Over all routers that could be asked; ``unheard`` could not."""

    answers: int
    cut: int
    unbilled_tokens: int
    ratios: Sequence[Ratio]
    unheard: int

    @property
    def cut_share(self) -> float | None:
        return self.cut / self.answers if self.answers else None


def counted_of(deployment: Deployment, reading: Reading) -> Counted:
    """What the routers report about the last answers of a deployment."""
    said = [
        count
        for heard in reading.heard
        if heard.state is not None
        for count in heard.state.counted
        if count.deployment_id == deployment.pk
    ]
    ratios = [ratio for way, label in WAYS if (ratio := _ratio(said, way, label)) is not None]
    return Counted(
        answers=sum(line.answers for line in said),
        cut=sum(line.cut for line in said),
        unbilled_tokens=sum(line.unbilled_tokens for line in said),
        ratios=ratios,
        unheard=sum(heard.state is None for heard in reading.heard),
    )


def _ratio(said: Sequence[CountedState], way: str, label: str | Promise) -> Ratio | None:
    """The median is that of the router that has seen most."""
    own = sum(getattr(line, f"{way}_own") for line in said)
    if not own:
        return None
    most = max(said, key=lambda one: one.answers)
    tokens = sum(getattr(line, f"{way}_said") for line in said)
    return Ratio(way, label, tokens / own, getattr(most, f"{way}_median"))
