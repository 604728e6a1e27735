"""Finding shared libraries that the setup brought into `.tools/lib`: the system lacks them."""

import ctypes
from pathlib import Path

BROUGHT = Path(__file__).resolve().parents[2] / ".tools" / "lib"


def load_brought(soname: str) -> None:
    """Load a library that was brought, so that modules linked with it find it in the process."""
    if (BROUGHT / soname).exists():
        ctypes.CDLL(str(BROUGHT / soname), mode=ctypes.RTLD_GLOBAL)
