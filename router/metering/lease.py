"""Holds from leased credit, in memory, so that admission needs no database.

A lease is a slice of an account's credit, and of the budgets that apply, that the ledger has
reserved for this router. A call's hold comes out of one lease. When the call is settled, what was
not charged goes back. A lease is retired when it is used up, given back or about to expire: it
takes no new holds. It is closed once the ledger has acknowledged every call that held from it.
Closed earlier, its credit could be spent twice.
"""

from collections.abc import Iterator
from math import inf

from msgspec import Struct, structs

from router.domain.money import Purse
from router.ports.bank import LeaseGrant

CLOCK_SKEW_S = 2.0
REFILL_BELOW = 0.75
"""More credit is fetched below this share of a lease, so that an outage finds most of it unused."""


class Hold(Struct, frozen=True, gc=False):
    """Money reserved for one call, in nano-USD. ``lease_id`` is "" for an amount of zero."""

    lease_id: str
    purse: Purse
    amount_nano: int


class Lease:
    """One grant in use.

    ``amount_nano`` is the part that still belongs to this router. ``remaining_nano`` is the part
    of that which is neither held nor charged; below ``low_nano`` more is fetched. ``begun_s`` is
    the time of the first hold. ``unsettled`` counts holds of calls that the ledger has not
    acknowledged.
    """

    __slots__ = (
        "amount_nano",
        "begun_s",
        "expires_at_s",
        "grant",
        "is_sure",
        "low_nano",
        "remaining_nano",
        "retired",
        "unsettled",
        "used",
    )

    def __init__(self, grant: LeaseGrant) -> None:
        self.grant = grant
        self.begun_s = inf
        self.low_nano = int(grant.amount_nano * REFILL_BELOW)
        self.used = False
        self.is_sure = True
        self.amount_nano = grant.amount_nano
        self.remaining_nano = grant.amount_nano
        self.expires_at_s = grant.expires_at_s
        self.retired = False
        self.unsettled = 0

    def is_usable(self, now_s: float) -> bool:
        """Whether a hold may still be taken from it."""
        return not self.retired and now_s < self.expires_at_s - CLOCK_SKEW_S


class LeaseBook:
    """Every lease of this router. Pure: Unix seconds come in as arguments."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._usable: dict[Purse, list[Lease]] = {}
        self.low: list[Lease] = []
        """Leases that have just run low, each listed once. The fetcher takes them out."""

    def add(self, grant: LeaseGrant) -> None:
        """Add a new grant behind the leases that its purse already has."""
        lease = Lease(grant)
        self._leases[grant.id] = lease
        self._usable.setdefault(grant.purse, []).append(lease)

    def reserve(self, purse: Purse, amount_nano: int, now_s: float) -> Hold | None:
        """Take a hold out of the first lease that has enough; None when there is none.

        Leases before it have too little for a call and are retired.
        """
        if amount_nano == 0:
            return Hold("", purse, 0)
        leases = self._usable.get(purse)
        if not leases:
            return None
        for lease in leases:
            if lease.remaining_nano >= amount_nano and lease.is_usable(now_s):
                if lease is not leases[0]:
                    self._retire_before(leases, lease)
                lease.unsettled += 1
                lease.begun_s = min(lease.begun_s, now_s)
                self._draw(lease, amount_nano)
                return Hold(lease.grant.id, purse, amount_nano)
        return None

    def raised(self, hold: Hold, more_nano: int) -> Hold | None:
        """The hold with this much more from its own lease; None when the lease has too little.

        A retired lease works too: it stays open for this hold in any case.
        """
        lease = self._leases.get(hold.lease_id)
        if lease is None or lease.remaining_nano < more_nano:
            return None
        self._draw(lease, more_nano)
        return structs.replace(hold, amount_nano=hold.amount_nano + more_nano)

    def grow(self, lease_id: str, more_nano: int) -> None:
        """The bank has given more to a lease."""
        lease = self._leases[lease_id]
        lease.amount_nano += more_nano
        lease.remaining_nano += more_nano

    def can_grow(self, lease_id: str) -> bool:
        """Whether the bank's amount for this lease is known to be the one here."""
        lease = self._leases.get(lease_id)
        return lease is not None and lease.is_sure

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

    def remaining_nano(self, purse: Purse) -> int:
        """What calls can still hold from a purse: the sum over its usable leases."""
        return sum(lease.remaining_nano for lease in self._usable.get(purse, ()))

    def give_up(self, account_id: int) -> list[tuple[str, int]]:
        """Retire every lease of an account and give up its idle part.

        Returns what stays of each lease, by id, also of those given up before and not yet
        :meth:`shrunk`. A lease does not grow until then: the bank could hear of the two changes
        in the wrong order.
        """
        shrunk: list[tuple[str, int]] = []
        for lease in self._leases.values():
            if lease.grant.purse.account_id != account_id:
                continue
            if lease.remaining_nano or not lease.is_sure:
                lease.retired = True
                lease.amount_nano -= lease.remaining_nano
                lease.remaining_nano = 0
                lease.is_sure = False
                shrunk.append((lease.grant.id, lease.amount_nano))
        for leases in self._usable.values():
            leases[:] = [lease for lease in leases if not lease.retired]
        return shrunk

    def shrunk(self, lease_id: str) -> None:
        """The bank knows what remains of a lease."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.is_sure = True

    def unsure(self) -> set[int]:
        """The accounts that gave up something which the bank may not have heard of."""
        return {
            lease.grant.purse.account_id for lease in self._leases.values() if not lease.is_sure
        }

    def retire_all(self) -> None:
        """Take no more holds from any lease: the router is stopping."""
        for lease in self._leases.values():
            lease.retired = True
        self._usable.clear()

    def retire_expired(self, now_s: float) -> None:
        """Retire leases near their end, so that idle credit goes back."""
        for purse, leases in list(self._usable.items()):
            for lease in leases:
                lease.retired = not lease.is_usable(now_s)
            leases[:] = [lease for lease in leases if not lease.retired]
            if not leases:
                del self._usable[purse]

    def usable(self) -> Iterator[Lease]:
        """Every lease that holds may be taken from."""
        for leases in self._usable.values():
            yield from leases

    def finished(self) -> list[str]:
        """Retired leases without unsettled calls: they can be closed."""
        return [
            lease_id
            for lease_id, lease in self._leases.items()
            if lease.retired and lease.unsettled == 0
        ]

    def forget(self, lease_id: str) -> None:
        """The bank has this lease back."""
        self._leases.pop(lease_id, None)

    def held_nano(self) -> int:
        """Credit set aside in this router and held by no call, for its state page."""
        return sum(lease.remaining_nano for lease in self._leases.values())

    def _draw(self, lease: Lease, amount_nano: int) -> None:
        lease.remaining_nano -= amount_nano
        lease.used = True
        if lease.remaining_nano < lease.low_nano:
            lease.low_nano = 0
            self.low.append(lease)

    def _retire_before(self, leases: list[Lease], first: Lease) -> None:
        for lease in leases[: leases.index(first)]:
            lease.retired = True
        del leases[: leases.index(first)]
