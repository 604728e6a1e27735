"""Vaults of several routers over one ledger."""

import itertools

from router.adapters.memory import MemoryBank, MemoryBudget, MemoryLedger
from router.metering.lease import Hold
from router.metering.vault import Vault
from tests.unit.router.metering.test_lease import ACCOUNT


class Till:
    """Vaults of several routers over one ledger, under a clock that tests set."""

    def __init__(self, credit_nano: int, **budgets_nano: int) -> None:
        self.now_s = 0.0
        self._numbers = itertools.count()
        self.ledger = MemoryLedger(
            clock=lambda: self.now_s,
            balances_nano={ACCOUNT: credit_nano},
            budgets={int(k[1:]): MemoryBudget(nano) for k, nano in budgets_nano.items()},
        )

    def vault(self, bank: MemoryBank | None = None, *, lease_nano: int = 100) -> Vault:
        router_id = f"r{len(self.ledger.banks)}"
        return Vault(
            bank or MemoryBank(self.ledger, router_id=router_id),
            lease_nano=lease_nano,
            lease_ttl_s=600,
            clock=lambda: self.now_s,
            new_id=lambda: f"lease-{next(self._numbers)}",
        )

    @property
    def held_nano(self) -> int:
        return self.ledger.held.get(ACCOUNT, 0)


async def finish(vault: Vault, hold: Hold, charge_nano: int) -> None:
    """The call has ended, and the ledger has it."""
    vault.book.settle(hold, charge_nano)
    vault.book.acknowledge(hold.lease_id)
