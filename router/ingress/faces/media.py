"""What a client calls an image and is none: a worker would fail on it and be blamed."""

from router.contracts.bodies.media import first_bytes, is_image
from router.domain.errors import RequestInvalid
from router.ingress.unfit import parameter

SCHEME = "data:"
BASE64 = ";base64"
HEAD_CHARACTERS = 256
SHOWN = 24


def check_image_url(url: str, path: str) -> None:
    """Raises ``RequestInvalid`` for a data URL that holds no image. Others are not fetched."""
    if url[: len(SCHEME)].casefold() != SCHEME:
        return
    head, comma, _ = url[:HEAD_CHARACTERS].partition(",")
    if not comma:
        raise _invalid(path, f"is a data URL without data: {url[:SHOWN]!r}")
    if not head.casefold().endswith(BASE64):
        return  # Text, such as SVG: rare, and for the worker to judge.
    try:
        begin = first_bytes(url[len(head) + 1 :])
    except ValueError as error:
        raise _invalid(path, f"is no base64: {error}") from None
    if not is_image(begin):
        raise _invalid(path, f"is no image: it begins with {begin[:SHOWN]!r}")


def _invalid(path: str, what: str) -> RequestInvalid:
    return RequestInvalid(f"{path} {what}", param=parameter(path))
