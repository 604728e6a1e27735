"""Holds out of leased credit, in memory: what makes admission free of the database.

A lease is a slice of an account's credit that the ledger has reserved for this router. A call's
hold comes out of it and goes back when the call is settled, less the charge. A lease that is used
up or about to expire is retired: no new holds, and it is given back once the ledger has
acknowledged every call that held from it (never before, or its credit could be spent twice).
"""

from msgspec import Struct

from router.ports import LeaseGrant

CLOCK_SKEW_S = 2.0


class Hold(Struct, frozen=True, gc=False):
    """Money reserved for one call, in nano-USD. ``lease_id`` is "" for an amount of zero."""

    lease_id: str
    account_id: int
    amount_nano: int


class Lease:
    """One grant in use. ``unsettled`` counts holds whose call the ledger has not acknowledged."""

    __slots__ = ("grant", "remaining_nano", "retired", "unsettled")

    def __init__(self, grant: LeaseGrant) -> None:
        self.grant = grant
        self.remaining_nano = grant.amount_nano
        self.retired = False
        self.unsettled = 0


class LeaseBook:
    """Every lease of this router. Pure: Unix seconds come in as arguments."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._current: dict[int, Lease] = {}

    def add(self, grant: LeaseGrant) -> None:
        """Use a new grant for its account from now on; the one before is retired."""
        before = self._current.get(grant.account_id)
        if before is not None:
            before.retired = True
        lease = Lease(grant)
        self._leases[grant.id] = lease
        self._current[grant.account_id] = lease

    def reserve(self, account_id: int, amount_nano: int, now_s: float) -> Hold | None:
        """Take a hold out of the account's current lease; None when it does not suffice."""
        if amount_nano == 0:
            return Hold("", account_id, 0)
        lease = self._current.get(account_id)
        if lease is None or lease.remaining_nano < amount_nano:
            return None
        if now_s >= lease.grant.expires_at_s - CLOCK_SKEW_S:
            return None
        lease.remaining_nano -= amount_nano
        lease.unsettled += 1
        return Hold(lease.grant.id, account_id, amount_nano)

    def settle(self, hold: Hold, charge_nano: int) -> None:
        """Return the part of a hold that was not charged to its lease."""
        if not 0 <= charge_nano <= hold.amount_nano:
            raise ValueError(f"charge {charge_nano} is outside the hold 0..{hold.amount_nano}")
        lease = self._leases.get(hold.lease_id)
        if lease is not None:
            lease.remaining_nano += hold.amount_nano - charge_nano

    def acknowledge(self, lease_id: str) -> None:
        """The ledger has settled one call that held from this lease."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.unsettled -= 1

    def retire_all(self) -> None:
        """No more holds from any lease: the router is stopping."""
        for lease in self._leases.values():
            lease.retired = True
        self._current.clear()

    def retire_expired(self, now_s: float) -> None:
        """No more holds from leases near their end, so that idle credit goes back."""
        for lease in self._leases.values():
            if now_s >= lease.grant.expires_at_s - CLOCK_SKEW_S:
                lease.retired = True
                if self._current.get(lease.grant.account_id) is lease:
                    del self._current[lease.grant.account_id]

    def finished(self) -> list[str]:
        """The retired leases that nothing holds from any more: they can be given back."""
        return [
            lease_id
            for lease_id, lease in self._leases.items()
            if lease.retired and lease.unsettled == 0
        ]

    def forget(self, lease_id: str) -> None:
        """The bank has this lease back."""
        self._leases.pop(lease_id, None)

    def held_nano(self) -> int:
        """Credit now set aside in this router, for its state page."""
        return sum(lease.remaining_nano for lease in self._leases.values())
