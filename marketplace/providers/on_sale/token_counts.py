"""How a deployment's workers count tokens, beside what the routers saw pass: what is believed."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Deployment
from marketplace.routing.topology.contracts import CountedState
from marketplace.routing.topology.polling import Reading

WAYS: tuple[tuple[str, str | Promise], ...] = (
    ("prompt", _("Prompts, for a quarter of their bytes")),
    ("stream", _("Streams, for each piece")),
    ("whole", _("Whole answers, for a quarter of their bytes")),
)
BELIEVED = 2.0
"""How many times the median of its model a worker is believed: as the router's ``TOLERANCE``."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Tokens that workers say for one that the router counts: theirs, and their model's median."""

    of: str
    label: str | Promise
    ratio: float
    median: float

    @property
    def most(self) -> float:
        """Up to what they are believed, short answers and templates aside."""
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
    """What the routers say of the last answers of a deployment."""
    said = [
        one
        for heard in reading.heard
        if heard.state is not None
        for one in heard.state.counted
        if one.deployment_id == deployment.pk
    ]
    ratios = [ratio for way, label in WAYS if (ratio := _ratio(said, way, label)) is not None]
    return Counted(
        answers=sum(one.answers for one in said),
        cut=sum(one.cut for one in said),
        unbilled_tokens=sum(one.unbilled_tokens for one in said),
        ratios=ratios,
        unheard=sum(heard.state is None for heard in reading.heard),
    )


def _ratio(said: Sequence[CountedState], way: str, label: str | Promise) -> Ratio | None:
    """The median is that of the router that has seen most."""
    own = sum(getattr(one, f"{way}_own") for one in said)
    if not own:
        return None
    most = max(said, key=lambda one: one.answers)
    tokens = sum(getattr(one, f"{way}_said") for one in said)
    return Ratio(way, label, tokens / own, getattr(most, f"{way}_median"))
