"""The result of a proposal's replay: is it better, can it be trusted, may a canary begin by itself?

Pure; :mod:`marketplace.tuning.proofs.proving` makes one.
"""

from enum import StrEnum

from msgspec import Struct

from marketplace.routing.trials.aim import Aim

WORTH_SHARE = 0.02
WORTH_POINTS = 0.005
"""A smaller difference counts as none, even if significant: a share of a latency, or a difference
of shares of good calls."""


class Trust(StrEnum):
    """Whether the replay of the policy in force agrees with the recorded calls."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    UNKNOWN = "unknown"
    """There was no replay: :class:`Lack` says what is missing."""


class Lack(StrEnum):
    FEW = "few"
    FLEET = "fleet"
    SLOW = "slow"


class Says(StrEnum):
    """The proposal's effect on the same calls, compared with the policy in force."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"


class Figure(Struct, frozen=True):
    """One figure: recorded, replayed under the policy in force, and replayed as proposed.

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
    """A pool's share of the answered calls: recorded, replayed and proposed."""

    pool: str
    emulated: bool
    recorded: float
    replayed: float
    proposed: float


class Apart(Struct, frozen=True):
    """The distance of the replay under the policy in force from the recording, and its limit.

    For latencies a share of the recorded one, for ``good`` a difference of shares, for ``shares``
    the part of the calls that another pool answered.
    """

    name: str
    apart: float
    most: float


class Proof(Struct, frozen=True):
    """A replay of ``calls`` of the ``total`` recorded ones, with each of ``seeds`` seeds.

    Without a replay there are no figures, and ``lack`` says why.
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
    """``worse`` if any figure is: a gain must not cost another figure."""
    found = {figure.says for figure in figures}
    for says in (Says.WORSE, Says.BETTER):
        if says in found:
            return says
    return Says.UNCLEAR


def may_begin(proof: Proof, aim: Aim) -> bool:
    """Whether a canary may begin without a person's approval.

    With an untrusted replay it may only if the replay shows no difference and the canary's own
    calls must show the gain. A trial with the aim ``not_worse`` relies on its replay instead.
    """
    if proof.trust is Trust.UNKNOWN or proof.says is Says.WORSE:
        return False
    if proof.trust is Trust.TRUSTED:
        return True
    return proof.says is Says.UNCLEAR and aim is not Aim.NOT_WORSE
