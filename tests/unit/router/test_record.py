"""Records on their way to the journal and the ledger."""

import json

from router.contracts.record import (
    CandidateRecord,
    Candidates,
    TermsRecord,
    decode_record,
    encode_record,
    encode_records,
)
from tests.unit.router.records import record

CHOSEN = CandidateRecord(1, "w0", "p", "chosen", 0.0, 40.0, 0.04)
SLOWER = CandidateRecord(1, "w1", "p", "slower", 0.0, 80.0, 0.08)
ENGINE = CandidateRecord(
    2, "e0", "p", "slower", 0.0, 90.0, 0.12, TermsRecord(20.0, 30.5, 39.5, 30.0, 500, 64, 20)
)


class Listing:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> tuple[CandidateRecord, ...]:
        self.asked += 1
        return CHOSEN, SLOWER


def test_a_record_survives_the_journal_with_its_candidates() -> None:
    sent = record("1", candidates=Candidates(Listing()))
    kept = decode_record(encode_record(sent))
    assert kept == sent
    assert list(kept.candidates) == [CHOSEN, SLOWER]
    assert kept != record("1")


def test_the_terms_of_an_engine_are_kept_and_slots_have_none() -> None:
    sent = record("1", candidates=Candidates(lambda: (CHOSEN, ENGINE)))
    line = encode_record(sent)
    assert decode_record(line) == sent
    slots, engine = json.loads(line)["candidates"]
    assert "terms" not in slots
    assert engine["terms"] == {
        "ahead_ms": 20.0,
        "prefill_ms": 30.5,
        "decode_ms": 39.5,
        "others_ms": 30.0,
        "prompt_tokens": 500,
        "cached_tokens": 64,
        "answer_tokens": 20,
    }


def test_every_form_of_a_record_lists_its_candidates() -> None:
    sent = record("1", candidates=Candidates(Listing()))
    one = json.loads(encode_record(sent))
    assert [c["verdict"] for c in one["candidates"]] == ["chosen", "slower"]
    assert json.loads(encode_records([sent, sent])) == [one, one]


def test_candidates_are_listed_once_and_only_when_they_are_read() -> None:
    listing = Listing()
    sent = record("1", candidates=Candidates(listing))
    assert listing.asked == 0
    encode_record(sent)
    encode_records([sent])
    assert listing.asked == 1
