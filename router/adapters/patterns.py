"""Finds personal data by patterns and check digits: no model, and nothing to download.

Numbers with a sum of their own (cards, IBAN, CPF, CNPJ) are found only where it holds. Names and
addresses of people are not found: they have no pattern.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from router.domain.personal import (
    IBAN_LENGTHS,
    Personal,
    is_card,
    is_cnpj,
    is_cpf,
    is_iban,
)
from router.ports.detector import Found

_SEPARATOR = re.compile(r"[^0-9A-Za-z]")


class _Pattern(Struct, frozen=True):
    """``holds`` judges what the expression found, without what separates its groups."""

    kind: Personal
    expression: re.Pattern[str]
    holds: Callable[[str], bool] | None = None


# Each has bounded repetitions and begins where a word does, so that no text makes it slow.
_PATTERNS = (
    _Pattern(
        Personal.IBAN,
        re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]){11,30}"),
        is_iban,
    ),
    _Pattern(
        Personal.CARD,
        re.compile(
            r"(?<![0-9])(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
            r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])"
        ),
        is_card,
    ),
    _Pattern(
        Personal.CNPJ,
        re.compile(
            r"(?<![0-9A-Za-z])(?:[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/[0-9A-Z]{4}-[0-9]{2}"
            r"|[0-9]{14})(?![0-9A-Za-z])"
        ),
        is_cnpj,
    ),
    _Pattern(
        Personal.CPF,
        re.compile(
            r"(?<![0-9A-Za-z])(?:[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{11})(?![0-9A-Za-z])"
        ),
        is_cpf,
    ),
    _Pattern(
        Personal.EMAIL,
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?!\w)"),
    ),
    _Pattern(
        Personal.PHONE,
        re.compile(
            r"(?<![\w+])(?:\+[0-9](?:[ .()-]{0,2}[0-9]){7,14}"
            r"|(?:\([0-9]{2}\)|[0-9]{2}) ?9?[0-9]{4}-[0-9]{4}"
            r"|(?:\([0-9]{3}\) ?|[0-9]{3}[.-])[0-9]{3}[.-][0-9]{4})(?![0-9])"
        ),
    ),
)
"""What comes first wins where two overlap."""


class PatternDetector:
    """The :class:`router.ports.detector.Detector` that needs nothing but this file."""

    def found(self, text: str, kinds: frozenset[str]) -> Sequence[Found]:
        """See :class:`router.ports.detector.Detector`."""
        found: list[Found] = []
        for pattern in _PATTERNS:
            if pattern.kind.value in kinds:
                found = _with_further(found, _matches(pattern, text))
        return found


def _with_further(found: Sequence[Found], further: Iterable[Found]) -> list[Found]:
    """Both in order, without what overlaps something of the first. Each of them is in order."""
    both: list[Found] = []
    at = 0
    for one in further:
        while at < len(found) and found[at].end <= one.begin:
            both.append(found[at])
            at += 1
        if at == len(found) or one.end <= found[at].begin:
            both.append(one)
    return [*both, *found[at:]]


def _matches(pattern: _Pattern, text: str) -> Iterator[Found]:
    match = pattern.expression.search(text)
    while match is not None:
        end = match.end()
        if pattern.holds is not None:
            end = _end(pattern.kind, pattern.holds, match)
        if end:
            yield Found(pattern.kind.value, match.start(), end)
        # What does not hold may hide what does, a few characters on.
        match = pattern.expression.search(text, end or match.start() + 1)


def _end(kind: Personal, holds: Callable[[str], bool], match: re.Match[str]) -> int:
    """Where what holds ends, 0 if nothing does."""
    whole = match.group()
    if kind is Personal.IBAN:
        whole = _of_length(whole, IBAN_LENGTHS.get(whole[:2], 0))
        following = match.string[match.start() + len(whole) : match.start() + len(whole) + 1]
        if not whole or following.isalnum():
            return 0
    return match.start() + len(whole) if holds(_SEPARATOR.sub("", whole)) else 0


def _of_length(text: str, characters: int) -> str:
    """The beginning with so many characters besides spaces, as words in capitals may follow; "" if
    there are too few.
    """
    end = 0
    for _ in range(characters):
        while text[end : end + 1] == " ":
            end += 1
        end += 1
    return text[:end] if characters and end <= len(text) else ""
