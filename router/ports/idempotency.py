"""Answers that are kept by a caller's key."""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class KeptAnswer(Struct, frozen=True, gc=False):
    """An answer as a client got it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class ClaimState(StrEnum):
    """What a claim on an idempotency key found."""

    NEW = "new"
    RUNNING = "running"
    OTHER = "other"
    """The key was used for another request."""
    DONE = "done"


class Claim(Struct, frozen=True, gc=False):
    """``answer`` is set with ``DONE``."""

    state: ClaimState
    answer: KeptAnswer | None = None


class Claimant(Struct, frozen=True, gc=False):
    """One call that wants a caller's key. Its unique ``token`` fences off earlier calls."""

    scope: str
    key: str
    token: str


class IdempotencyStore(Protocol):
    """Answers by the caller's scope and key. Raises ``LedgerUnavailable`` if it is away."""

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        """Take the key for a call that is about to run, unless another call has it.

        If the call already has it, the claim is renewed. It is ``NEW`` as long as no other call
        took the key over.
        """
        ...

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        """Keep the call's answer. Does nothing if the call has lost its key."""
        ...

    async def forget(self, claimant: Claimant) -> None:
        """The call has no answer, so another may run. Does nothing if the call has lost its key."""
        ...

    async def end(self, scope: str, key: str) -> bool:
        """Ask the call that runs under the key to end, wherever it is; False if there is none.

        It keeps its key until then, and is not renewed.
        """
        ...

    async def is_ended(self, claimant: Claimant) -> bool:
        """Whether the call was asked to end."""
        ...
