"""Kinds of personal data, and the sums by which numbers of some kinds are told from others."""

from enum import StrEnum


class Personal(StrEnum):
    """A kind of personal data that can be found in a text."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    CPF = "cpf"
    CNPJ = "cnpj"


CARD_BEGINNINGS = frozenset("23456")
"""First digits of payment cards (ISO/IEC 7812): all others are cards of something else."""


_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29
ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25
QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
IBAN_LENGTHS = {word[:2]: int(word[2:]) for word in _LENGTHS.split()}
"""How long an IBAN is, by its country (SWIFT's registry of IBANs)."""


def is_card(digits: str) -> bool:
    """Whether 13 to 19 digits may be a payment card's: by its issuer, and Luhn's sum."""
    if not 13 <= len(digits) <= 19 or digits[0] not in CARD_BEGINNINGS:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Whether letters and digits without spaces are an IBAN (ISO 13616): the remainder is 1."""
    if len(text) != IBAN_LENGTHS.get(text[:2], 0):
        return False
    turned = text[4:] + text[:4]
    return int("".join([str(int(character, 36)) for character in turned])) % 97 == 1


def is_cpf(digits: str) -> bool:
    """Whether 11 digits are a Brazilian person's number (CPF)."""
    if len(set(digits)) == 1:
        return False
    return all(
        int(digits[length])
        == sum(int(digits[i]) * (length + 1 - i) for i in range(length)) * 10 % 11 % 10
        for length in (9, 10)
    )


def is_cnpj(text: str) -> bool:
    """Whether 12 letters or digits and 2 digits are a Brazilian company's number (CNPJ).

    Since July 2026 it has letters, which count as their ASCII code less that of "0".
    """
    if len(set(text)) == 1:
        return False
    values = [ord(character) - 48 for character in text]
    for length in (12, 13):
        weights = [(length - 1 - i) % 8 + 2 for i in range(length)]
        rest = sum(value * weight for value, weight in zip(values, weights, strict=False)) % 11
        if values[length] != (0 if rest < 2 else 11 - rest):
            return False
    return True
