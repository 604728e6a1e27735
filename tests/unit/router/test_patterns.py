"""What the pattern detector takes for personal data, and what it does not."""

import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.patterns import PatternDetector
from router.domain.personal import Personal

ALL = frozenset(Personal)
detector = PatternDetector()


def found(text: str, kinds: frozenset[str] = ALL) -> list[tuple[str, str]]:
    return [(one.kind, text[one.begin : one.end]) for one in detector.found(text, kinds)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ana.souza+x@mail.example.com.br"),
        ("email", "josé@exämple.org"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("card", "378282246310005"),
        ("card", "3782 822463 10005"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432"),
        ("iban", "BR15 0000 0000 0000 1093 2840 814P 2"),
        ("cpf", "529.982.247-25"),
        ("cpf", "52998224725"),
        ("cnpj", "11.222.333/0001-81"),
        ("cnpj", "11222333000181"),
        ("cnpj", "12.ABC.345/01DE-35"),
        ("phone", "+55 (11) 98765-4321"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "(11) 98765-4321"),
        ("phone", "11 3456-7890"),
        ("phone", "(212) 555-0143"),
        ("phone", "212-555-0143"),
    ],
)
def test_each_kind_is_found_where_it_is(kind: str, value: str) -> None:
    for text in (value, f"It is {value}.", f"({value}, and so on)", f"é {value}\n{value}"):
        assert {value for _, value in found(text)} == {value}, text
        assert {kind for kind, _ in found(text)} == {kind}
    assert found(value, ALL - {kind}) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 is no card, nor is 1111111111111117",
        "DE89 3704 0044 0532 0130 01",
        "529.982.247-26 and 111.111.111-11",
        "11.222.333/0001-82",
        "on 2026-12-01 at 10:30:00, version 3.11.2, 192.168.0.1:8080",
        "3.14159265358979 and 1,234,567.89 and 100000000000",
        "a@b, @preset/brief, me @ home, user@localhost",
        "id 0197b2c4-7a1e-7000-8000-2f1e5b6c7d8e",
        "+1 and 2+2=4; +123; C++20",
        "call_4f1f2e3d request-12345678",
    ],
)
def test_other_numbers_and_names_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_what_does_not_hold_hides_nothing_after_it() -> None:
    assert found("1234 4111 1111 1111 1111") == [("card", "4111 1111 1111 1111")]
    assert found("IBAN DE89 3704 0044 0532 0130 00 EUR 5") == [
        ("iban", "DE89 3704 0044 0532 0130 00")
    ]
    assert found("card 4111111111111111, mail a@b.co") == [
        ("card", "4111111111111111"),
        ("email", "a@b.co"),
    ]


@given(st.text(alphabet="0123456789 -.+()@aA/\u00e9", max_size=80))
def test_findings_come_in_order_and_do_not_overlap(text: str) -> None:
    ends = [0]
    for one in detector.found(text, ALL):
        assert ends[-1] <= one.begin < one.end <= len(text)
        ends.append(one.end)


def test_no_text_makes_it_slow() -> None:
    """Sixteen times the text takes about sixteen times as long, not two hundred and fifty-six."""
    seeded = random.Random(5)
    texts = [
        "".join(seeded.choices(string.digits + " -", k=1_000)),
        "a" * 1_000,
        "a." * 500,
        "a@" * 500,
        "a@a." * 250,
        "DE11" * 250,
        "DE11 " * 200,
        "1 " * 500,
        "+1 " * 333,
        "1234 " * 200,
        "(11) 9" * 150,
        # Much of one kind, and much of another.
        "4111111111111111 " * 30 + "a@b.co " * 70,
        "a@b.co +5511987654321 " * 45,
    ]
    for text in texts:
        once = min(_seconds(text * 4) for _ in range(5))
        more = min(_seconds(text * 64) for _ in range(3))
        assert more < max(once, 1e-4) * 16 * 4, text[:20]


def _seconds(text: str) -> float:
    begun = time.process_time()
    detector.found(text, ALL)
    return time.process_time() - begun
