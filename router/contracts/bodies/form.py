"""Forms with files (``multipart/form-data``, RFC 7578): read from clients, written for workers."""

import secrets
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import BytesHeaderParser

from msgspec import Struct

FORM = "multipart/form-data"
PARTS_MAX = 64
HEAD_BYTES_MAX = 8 * 1024
LINE = b"\r\n"

_head_of = BytesHeaderParser().parsebytes


class FormInvalid(ValueError):
    """What is wrong with a form."""


class Part(Struct, frozen=True, gc=False):
    """A field, or a file if ``filename`` is set."""

    name: str
    content: bytes
    filename: str = ""
    content_type: str = ""


def parts_of(content_type: str, body: bytes) -> list[Part]:
    """The parts of a form. Raises :class:`FormInvalid`."""
    given = Message()
    given["content-type"] = content_type
    try:
        boundary = given.get_boundary("")
    except ValueError:  # RFC 2231 lets it name a coding that it is not in.
        boundary = ""
    if given.get_content_type() != FORM or not boundary:
        raise FormInvalid(f"the content type is {content_type[:80]!r}; it must be {FORM}")
    begin, *found = (LINE + body).split(LINE + b"--" + boundary.encode("latin-1", "replace"))
    if not found or begin.strip() or not found[-1].startswith(b"--"):
        raise FormInvalid("the form does not begin and end with its boundary")
    if len(found) - 1 > PARTS_MAX:
        raise FormInvalid(f"the form has {len(found) - 1} parts; it may have {PARTS_MAX}")
    return [_part(raw) for raw in found[:-1]]


def _part(raw: bytes) -> Part:
    head, gap, content = raw.partition(LINE + LINE)
    if not gap or len(head) > HEAD_BYTES_MAX:
        raise FormInvalid("a part of the form has no head, or one that is too long")
    said = _head_of(head.lstrip() + LINE + LINE)
    try:
        name = said.get_param("name", header="content-disposition")
        filename = said.get_filename("") or ""
    except ValueError:
        raise FormInvalid("a part of the form has a head that cannot be read") from None
    if not isinstance(name, str) or not name:
        raise FormInvalid("a part of the form has no name")
    return Part(name, content, filename, said.get_content_type())


def form_of(fields: Mapping[str, str | Iterable[str]], file: Part) -> tuple[str, bytes]:
    """The content type and the body of a form with one file, which comes last."""
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for name, given in fields.items():
        for value in (given,) if isinstance(given, str) else given:
            lines += [_begin(boundary), _disposition(name), b"", value.encode()]
    lines += [
        _begin(boundary),
        _disposition(file.name) + f'; filename="{_quoted(file.filename)}"'.encode(),
        f"Content-Type: {_quoted(file.content_type)}".encode(),
        b"",
        file.content,
        _begin(boundary) + b"--",
        b"",
    ]
    return f"{FORM}; boundary={boundary}", LINE.join(lines)


def _begin(boundary: str) -> bytes:
    return b"--" + boundary.encode()


def _disposition(name: str) -> bytes:
    return f'Content-Disposition: form-data; name="{_quoted(name)}"'.encode()


def _quoted(text: str) -> str:
    """As browsers write it."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
