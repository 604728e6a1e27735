"""API keys and session tokens: layout, checksum, digest. Pure: secrets come in as arguments.

A key is ``<prefix>_live_``, 30 base62 characters, and 6 characters of CRC32 over all before them.
Secret scanners know this layout, and a mistyped key is refused without a look-up. A session token
lets a signed-in browser call the router for a few minutes without ever seeing a key.
"""

import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

import msgspec

KEY_PREFIX = "wp"
SESSION_PREFIX = "wp_session_"
SECRET_CHARACTERS = 30
CHECKSUM_CHARACTERS = 6
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def compose_key(secret: bytes) -> str:
    """Make a key out of at least 24 random bytes (base62 keeps 178 bits of them)."""
    if len(secret) < 24:
        raise ValueError(f"a key needs at least 24 random bytes, got {len(secret)}")
    body = f"{KEY_PREFIX}_live_{_base62(int.from_bytes(secret), SECRET_CHARACTERS)}"
    return body + _checksum(body)


def key_is_wellformed(key: str) -> bool:
    """Whether prefix, length, alphabet and checksum fit. Says nothing about whose key it is."""
    head = f"{KEY_PREFIX}_live_"
    if len(key) != len(head) + SECRET_CHARACTERS + CHECKSUM_CHARACTERS or not key.startswith(head):
        return False
    body = key[:-CHECKSUM_CHARACTERS]
    return hmac.compare_digest(_checksum(body).encode(), key[-CHECKSUM_CHARACTERS:].encode())


def digest_key(key: str, pepper: bytes) -> str:
    """The HMAC-SHA256 of a key, as 64 hex digits: how it is stored and looked up."""
    return hmac.digest(pepper, key.encode(), "sha256").hex()


def mask_key(key: str) -> str:
    """What may be shown of a key after its creation: the head and the last four characters."""
    return f"{key[: len(KEY_PREFIX) + 10]}…{key[-4:]}"


class SessionClaims(msgspec.Struct, frozen=True):
    """Who a session token speaks for. ``expires_at_s`` is Unix seconds.

    ``session`` tells a person's browser sessions apart; it is empty outside of browsers. A token
    with a ``key_id`` speaks for that key and no person: what a job calls models with. ``batch``
    says that the job is a batch, ``judges`` which call a router has another one judge for them.
    """

    organisation_id: int
    account_id: int
    user_id: int
    expires_at_s: int
    session: str = ""
    key_id: int = 0
    batch: bool = False
    judges: str = ""


class EndedSession(msgspec.Struct, frozen=True):
    """A session, membership or person whose tokens end before they expire.

    It covers a person's membership of one organisation, one browser session, or everything of a
    person where neither is named. Tokens given out later expire after ``expires_until_s`` and stay
    valid.
    """

    user_id: int
    expires_until_s: int
    organisation_id: int = 0
    session: str = ""

    def covers(self, claims: SessionClaims) -> bool:
        """Whether these claims have ended."""
        return (
            claims.user_id == self.user_id
            and claims.expires_at_s <= self.expires_until_s
            and self.organisation_id in (0, claims.organisation_id)
            and self.session in ("", claims.session)
        )


def sign_session(claims: SessionClaims, pepper: bytes) -> str:
    """A bearer token ``wp_session_<claims>.<mac>`` that the router checks without a look-up."""
    body = SESSION_PREFIX + _b64(msgspec.json.encode(claims))
    return f"{body}.{_session_mac(body, pepper)}"


def verify_session(token: str, pepper: bytes) -> SessionClaims | None:
    """The claims of an authentic token, or None. The caller compares ``expires_at_s`` with now."""
    body, dot, mac = token.rpartition(".")
    if not dot or not body.startswith(SESSION_PREFIX):
        return None
    try:
        # As text: what decodes alike is another token.
        if not hmac.compare_digest(_session_mac(body, pepper).encode(), mac.encode()):
            return None
        return msgspec.json.decode(_unb64(body[len(SESSION_PREFIX) :]), type=SessionClaims)
    except (Base64Error, ValueError, msgspec.MsgspecError):
        return None


def _session_mac(body: str, pepper: bytes) -> str:
    return _b64(hmac.digest(pepper, b"session:" + body.encode(), "sha256"))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
