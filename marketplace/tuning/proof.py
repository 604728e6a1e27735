"""What the replay of a proposal says, whether it can be trusted, and what may begin by itself.

Pure; :mod:`marketplace.tuning.proving` makes one.
"""

from enum import StrEnum

from msgspec import Struct

from marketplace.routing.trials.aim import Aim

WORTH_SHARE = 0.02
WORTH_POINTS = 0.005
"""A difference that is sure and smaller than this (a latency's share; of good calls, points) is
nothing."""


class Trust(StrEnum):
    """Whether the replay of the policy in force comes out as the recorded calls really went."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    UNKNOWN = "unknown"
    """There was nothing to replay: :class:`Lack` says what is missing."""


class Lack(StrEnum):
    FEW = "few"
    FLEET = "fleet"
    SLOW = "slow"


class Says(StrEnum):
    """What the proposal does to the same calls, beside the policy in force."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"


class Figure(Struct, frozen=True):
    """One figure as it was recorded, replayed under the policy in force, and as proposed.

    ``low`` and ``high`` bound the difference of the two replays at 95 %. ``mean_ms`` and
    ``p99_ms`` are milliseconds, ``good`` is the share of calls answered within the objective.
    """

    name: str
    recorded: float
    replayed: float
    proposed: float
    low: float
    high: float

    @property
    def says(self) -> Says:
        is_share = self.name == "good"
        change = self.proposed - self.replayed
        if not is_share:
            change /= self.replayed or 1.0
        worth = WORTH_POINTS if is_share else WORTH_SHARE
        if abs(change) < worth or self.low <= 0 <= self.high:
            return Says.UNCLEAR
        return Says.BETTER if (change > 0) == is_share else Says.WORSE


class Share(Struct, frozen=True):
    """Part of the answered calls that a pool answered, in the same three."""

    pool: str
    emulated: bool
    recorded: float
    replayed: float
    proposed: float


class Apart(Struct, frozen=True):
    """How far the replay of the policy in force is from what was recorded, and may be at most.

    Latencies as shares of what was recorded, ``good`` in points, ``shares`` as the part of the
    calls that another pool answered.
    """

    name: str
    apart: float
    most: float


class Proof(Struct, frozen=True):
    """A replay: ``calls`` of the ``total`` recorded ones, with each of ``seeds`` seeds.

    Of one that is unknown there are no figures, and ``lack`` says why.
    """

    trust: Trust
    says: Says
    calls: int
    total: int
    calls_min: int
    at: str
    seeds: int = 0
    lack: Lack | None = None
    figures: tuple[Figure, ...] = ()
    shares: tuple[Share, ...] = ()
    held: tuple[Apart, ...] = ()


def says_of(figures: tuple[Figure, ...]) -> Says:
    """Worse where any figure is: nobody is to pay for what another figure gains."""
    found = {figure.says for figure in figures}
    for says in (Says.WORSE, Says.BETTER):
        if says in found:
            return says
    return Says.UNCLEAR


def may_begin(proof: Proof, aim: Aim) -> bool:
    """Whether a canary may begin with nobody asked.

    Without a trusted replay only one that was promised nothing, and whose aim its own calls have
    to show: what is not worse is otherwise promoted on the word of a replay.
    """
    if proof.trust is Trust.UNKNOWN or proof.says is Says.WORSE:
        return False
    if proof.trust is Trust.TRUSTED:
        return True
    return proof.says is Says.UNCLEAR and aim is not Aim.NOT_WORSE
