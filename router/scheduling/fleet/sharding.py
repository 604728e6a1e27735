"""Which router owns a model: highest random weight (rendezvous) hashing (Thaler and Ravishankar
1998). All that see the same routers name the same owner, without asking. A router that comes or
goes moves only the models that it gains or had.
"""

from collections.abc import Iterable
from hashlib import blake2b


def owner(model: str, routers: Iterable[str]) -> str:
    """The id of the owner among these routers. Raises ``ValueError`` if there are none."""
    return max(routers, key=lambda router: (_weight(model, router), router))


def _weight(model: str, router: str) -> bytes:
    return blake2b(f"{model}\0{router}".encode(), digest_size=8).digest()
