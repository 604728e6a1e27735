"""What to know about an answer, in words."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from msgspec import Struct

NOTES = {
    "cut": gettext_noop(
        "%(calls)s of the %(total)s recorded calls were replayed: blocks spread evenly over "
        "the time range and joined, each as busy as it was."
    ),
    "few": gettext_noop("Only %(calls)s calls were recorded. A reliable answer needs %(needed)s."),
    "other_policy": gettext_noop(
        "%(percent)s %% of the calls were placed by another policy version than the one in force."
    ),
    "other_models": gettext_noop(
        "Other models took %(percent)s %% of the time on these pools. Their load is not "
        "replayed, so waits come out too short."
    ),
    "unknown": gettext_noop(
        "%(deployment)s is left out: it has no profile in force and too few recorded calls."
    ),
    "profile_missing": gettext_noop(
        "Pool %(pool)s has no profile in force: it is replayed at the speed measured in the "
        "time range."
    ),
    "not_measured": gettext_noop(
        "Pool %(pool)s answered too few calls in the time range: it is replayed at its "
        "profile's speed, for calls of this size."
    ),
    "engines": gettext_noop(
        "Its pools are LLM engines: each token of an answer shares a step with all others. The "
        "cached part of a prompt is assumed to be a prefix that all calls of its organisation "
        "share."
    ),
    "engines_as_slots": gettext_noop(
        "Pool %(pool)s is not known to be an LLM engine, so all pools are replayed as slots. A "
        "benchmark of streams can show that it is one."
    ),
    "cache_unknown": gettext_noop(
        "The size of pool %(pool)s's KV cache is unknown: it is assumed to be large enough."
    ),
    "size_blind": gettext_noop(
        "The size of these calls cannot be predicted, so the router places them without it."
    ),
}


class Note(Struct, frozen=True):
    """Something to know: a code of :data:`NOTES`, and what is filled in."""

    code: str
    values: dict[str, str | int | float] = {}


def note_text(note: Note) -> str:
    """The note in the reader's language."""
    return _(NOTES[note.code]) % note.values
