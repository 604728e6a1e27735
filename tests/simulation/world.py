"""One history of money: its ledger, its clients, and what must hold at any time."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from router.adapters.memory import MemoryBudget, MemoryLedger
from router.adapters.memory_disk import MemoryDisk
from router.domain.money import Purse
from tests.simulation.network import Network, RemoteSink

LOOK_S = 0.02
SETTLING_S = 300.0
"""How long everything may take to come to rest once the faults are over."""


class Broken(Exception):
    """Something that was promised does not hold."""


@dataclass
class Truth:
    """What happened to one call, as its client knows it."""

    request_id: str
    router: str
    purse: Purse
    hold_nano: int
    """What is held by now: a stream's grows."""
    token_nano: int
    delivered: int = 0
    ended: str = ""
    """``whole``, ``gone`` or ``broken``, "" while it runs."""
    ended_s: float = 0.0


@dataclass
class World:
    """One history. ``calm`` ones have no faults but those of the clients' own making."""

    seed: int
    draw: random.Random = field(init=False)
    truths: dict[str, Truth] = field(default_factory=dict)
    refused: int = 0
    raised: int = 0
    cut: int = 0
    """Streams that ended since nothing more could be held."""
    faults: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    """Calls whose newest record a power loss took."""
    settled_ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.calm = self.draw.random() < 0.25
        self.credit_nano = self.draw.choice((300, 3_000, 100_000))
        budgets = {1: MemoryBudget(self.credit_nano // 3), 2: MemoryBudget(self.credit_nano // 2)}
        self.purses = (Purse(1), Purse(1, (1,)), Purse(1, (1, 2)), Purse(2))
        self.ledger = MemoryLedger(
            clock=self.now_s,
            balances_nano={1: self.credit_nano, 2: self.credit_nano},
            budgets=budgets,
            records_kept=10**6,
        )
        self.network = Network(self.draw, self.check_now)
        self.numbers = itertools.count(1)
        self.sink = RemoteSink(self.ledger, self.network)
        self.disks: dict[str, MemoryDisk] = {}

    def now_s(self) -> float:
        """The clock of every machine."""
        return asyncio.get_running_loop().time()

    def check_now(self) -> None:
        """What holds at every moment."""
        for account_id, posted in self.ledger.posted.items():
            held = self.ledger.held.get(account_id, 0)
            self.expect(posted >= held >= 0, f"account {account_id} has {posted}, holds {held}")
        for budget_id, budget in self.ledger.budgets.items():
            fits = budget.held_nano >= 0 and budget.left_nano >= 0
            self.expect(fits, f"budget {budget_id} is {budget}")

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Broken(f"seed {self.seed} at {self.now_s():.3f} s: {what}")

    def free_nano(self, purse: Purse) -> int:
        """What of a purse no call has: neither holds it, nor owes it."""
        left = self.ledger.posted[purse.account_id]
        budgets = {b: self.ledger.budgets[b] for b in purse.budgets}
        lefts = {b: budget.limit_nano - budget.spent_nano for b, budget in budgets.items()}
        for truth in self.truths.values():
            if truth.request_id in self.settled_ids:
                continue
            owed = truth.delivered * truth.token_nano if truth.ended else truth.hold_nano
            if truth.purse.account_id == purse.account_id:
                left -= owed
            for budget_id in set(truth.purse.budgets) & set(lefts):
                lefts[budget_id] -= owed
        return min([left, *lefts.values()])

    @contextlib.contextmanager
    def watching(self, purse: Purse) -> Iterator[list[int]]:
        """What is free of a purse, again and again, while somebody waits for some of it.

        Only in calm histories: otherwise credit may be out of reach with a router that is down.
        """
        free: list[int] = []
        if not self.calm:
            yield free
            return
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal timer
            free.append(self.free_nano(purse))
            timer = loop.call_later(LOOK_S, look)

        timer: asyncio.Handle = loop.call_later(LOOK_S, look)
        free.append(self.free_nano(purse))
        try:
            yield free
        finally:
            timer.cancel()
            free.append(self.free_nano(purse))
