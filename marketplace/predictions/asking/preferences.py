"""The headers ``Prefer: wait`` and ``Cancel-After``. Pure."""

import re

from marketplace.shared.numbers import whole

WAIT_S_MAX = 60
"""The longest that an answer is held open, and the default of ``Prefer: wait``."""
CANCEL_AFTER_S_MIN = 5
CANCEL_AFTER_S_MAX = 24 * 3600

_PREFERENCE = re.compile(r"^\s*wait\s*(?:=\s*\"?(?P<seconds>[^\";,\s]*)\"?)?\s*$", re.IGNORECASE)
_DURATION = re.compile(r"^\s*(?P<count>[0-9]{1,9})\s*(?P<unit>[smhd]?)\s*$", re.IGNORECASE)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class HeaderInvalid(ValueError):
    """A header says nothing that can be followed. ``param`` is its name."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def wait_s(prefer: str) -> float:
    """How long ``Prefer`` (RFC 7240) asks to wait for the end; 0 where it does not.

    Raises :class:`HeaderInvalid` for a wait that is no whole number of seconds from 1 to 60.
    """
    for preference in prefer.split(","):
        found = _PREFERENCE.match(preference)
        if found is None:
            continue
        seconds = found["seconds"]
        if seconds is None:
            return WAIT_S_MAX
        wait_s = whole(seconds, WAIT_S_MAX)
        if not wait_s:
            raise HeaderInvalid(
                f"Prefer: wait={seconds[:40]} must be whole seconds from 1 to {WAIT_S_MAX}",
                "Prefer",
            )
        return wait_s
    return 0


def cancel_after_s(header: str) -> int | None:
    """The seconds in ``Cancel-After`` such as ``30s``, ``1m``, ``2h`` or ``90``; None without it.

    Raises :class:`HeaderInvalid`.
    """
    if not header:
        return None
    found = _DURATION.match(header)
    seconds = int(found["count"]) * _UNITS[found["unit"].lower()] if found else 0
    if not CANCEL_AFTER_S_MIN <= seconds <= CANCEL_AFTER_S_MAX:
        raise HeaderInvalid(
            f"Cancel-After: {header[:40]} must be a time from {CANCEL_AFTER_S_MIN}s to "
            f"{CANCEL_AFTER_S_MAX // 3600}h, such as 90, 30s, 5m or 2h",
            "Cancel-After",
        )
    return seconds
