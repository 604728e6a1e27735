"""What to know about an answer, in words."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from msgspec import Struct

NOTES = {
    "cut": gettext_noop(
        "%(calls)s of the %(total)s recorded calls were replayed: blocks spread evenly over the"
        " stretch and joined, as busy as they were."
    ),
    "few": gettext_noop("Only %(calls)s calls were recorded; %(needed)s make an answer sure."),
    "other_policy": gettext_noop(
        "%(percent)s %% of the calls were placed by another policy version than the one in force."
    ),
    "other_models": gettext_noop(
        "%(percent)s %% of the time that calls took on these pools was other models'. Their load is"
        " not replayed: waits come out too short."
    ),
    "unknown": gettext_noop(
        "%(deployment)s is left out: it has no profile in force and too few recorded calls."
    ),
    "profile_missing": gettext_noop(
        "Pool %(pool)s has no profile in force: it is as fast as it was in the stretch."
    ),
    "not_measured": gettext_noop(
        "Pool %(pool)s answered too few calls in the stretch: it is as fast as its profile says,"
        " for calls of this size."
    ),
    "engines": gettext_noop(
        "Its pools are LLM engines: each token of an answer shares a step with all others. What was"
        " cached of a prompt is taken for a beginning that all calls of its organisation share."
    ),
    "engines_as_slots": gettext_noop(
        "Pool %(pool)s is not known as an LLM engine, so that all pools are replayed as slots: a"
        " benchmark of streams tells."
    ),
    "cache_unknown": gettext_noop(
        "How much KV cache pool %(pool)s has is not known: it is taken for enough."
    ),
    "size_blind": gettext_noop(
        "Nothing that was known of the calls beforehand tells their size: the router places them"
        " size-blind."
    ),
}


class Note(Struct, frozen=True):
    """Something to know: a code of :data:`NOTES`, and what is filled in."""

    code: str
    values: dict[str, str | int | float] = {}


def note_text(note: Note) -> str:
    """The note in the reader's language."""
    return _(NOTES[note.code]) % note.values
