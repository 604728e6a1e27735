"""How many tokens of a stream its hold covers, and raising the hold before it is used up.

The hold grows out of the lease, ahead of what the client gets, so that nothing runs that cannot be
paid. The stream waits for the ledger only if the lease has too little.
"""

from math import inf

from msgspec import structs

from router.domain.errors import (
    BudgetExhausted,
    CallError,
    CreditExhausted,
    CreditUsedUp,
    HoldUsedUp,
    LedgerUnavailable,
)
from router.domain.pricing import Price, answer_nano
from router.metering.vault import Vault, page_named
from router.pipeline.plans.plan import Plan
from router.pipeline.settlement.settle import CallAccount
from router.ports.upstream import StreamPart

END_OF_EVENT = b"\n\n"
HOLD_SLACK_TOKENS = 16
"""Events with content may outnumber the tokens that a worker counts by this many."""

RAISE_TOKENS = 256
"""How many more tokens a raised hold covers, but at most as many again..."""

LAST_TOKENS = 16
"""... and how many when the credit does not cover that."""

AHEAD_TOKENS = 64
"""A stream asks for more this many tokens before its hold ends, but only in its last quarter."""


class Cover:
    """The hold of one stream.

    ``enough`` is how many tokens may be delivered, by the router's own count, before
    :meth:`passed` must be asked. A piece counts as one token and may be ``event_tokens``.
    """

    __slots__ = (
        "_account",
        "_event_tokens",
        "_plan",
        "_price",
        "_refused",
        "_tokens",
        "_vault",
        "enough",
    )

    def __init__(
        self, plan: Plan, account: CallAccount, vault: Vault, price: Price, event_tokens: float
    ) -> None:
        self._plan = plan
        self._account = account
        self._vault = vault
        self._price = price
        self._event_tokens = event_tokens
        self._tokens = plan.completion_tokens_held
        self._refused = False
        self.enough = inf
        if plan.grows:
            self._reaches()
        elif self._tokens:
            self.enough = float(self._tokens + HOLD_SLACK_TOKENS)

    async def passed(self, delivered: int) -> CallError | None:
        """Ask to deliver more than ``enough``. Returns why not, or None if it may be delivered.

        Deliveries can be of any size, and many tokens larger than the previous one.
        """
        plan, most = self._plan, self._plan.most.completion_tokens
        if not plan.grows or delivered > most + HOLD_SLACK_TOKENS:
            return HoldUsedUp(
                "the answer is longer than the credit that was held for it; what was delivered is "
                "billed; give max_tokens",
                param="max_tokens",
            )
        short = max(min(delivered, most) - self._tokens, 0)
        ahead = LAST_TOKENS if self._refused else min(RAISE_TOKENS, self._tokens)
        more = min(short + ahead, most - self._tokens)
        if more <= 0:
            self.enough = float(most + HOLD_SLACK_TOKENS)
            return None
        refusal = await self._hold_more(more)
        self._refused = refusal is not None
        if refusal is not None and short:
            refusal = await self._hold_more(short)
            if refusal is not None:
                return self._ending(refusal)
        self._reaches()
        return None

    async def _hold_more(self, more: int) -> CallError | None:
        """Hold so many tokens more. Returns why that cannot be, or None if they are held."""
        account = self._account
        try:
            nano = answer_nano(self._price, more)
            account.raise_hold(await self._vault.raised(account.hold, nano))
        except (BudgetExhausted, CreditExhausted, LedgerUnavailable) as refusal:
            return refusal
        self._tokens += more
        return None

    def _ending(self, refusal: CallError) -> CallError:
        """What a stream ends with that nothing more can be held for."""
        if isinstance(refusal, LedgerUnavailable):
            return LedgerUnavailable(
                "no more can be held for this answer; what was delivered is billed; "
                f"{refusal.message}",
                retry_after_s=refusal.retry_after_s,
            )
        return CreditUsedUp(
            "the credit, or what is left of a budget, does not cover more of this answer; what "
            "was delivered is billed; add credit, ask for it or raise the budget "
            f"{page_named('billing', self._vault.pages_url)}"
        )

    def _reaches(self) -> None:
        """After a refusal, credit is asked for again only once the hold is used up."""
        ahead = min(AHEAD_TOKENS, self._tokens // 4)
        self.enough = self._tokens if self._refused else (self._tokens - ahead) / self._event_tokens


def single_events(part: StreamPart) -> list[StreamPart]:
    """A part split into one part per event. The last has the stream's end and the usage."""
    events = [event + END_OF_EVENT for event in part.chunk.split(END_OF_EVENT) if event]
    pieces = [
        StreamPart(event, int(number < part.tokens)) for number, event in enumerate(events[:-1])
    ]
    rest = part.tokens - sum(piece.tokens for piece in pieces)
    pieces.append(structs.replace(part, chunk=b"".join(events[-1:]), tokens=rest))
    return pieces
