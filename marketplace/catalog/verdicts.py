"""Texts for a decision's record: why a place was chosen or lost, by verdict."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from router.domain.verdict import Verdict

VERDICTS: Mapping[str, str | Promise] = {
    Verdict.CHOSEN: _("chosen: the lowest score"),
    Verdict.TIED: _("tied with the chosen one, which was picked at random"),
    Verdict.SLOWER: _("free, but expected to take longer"),
    Verdict.BUSY: _("other calls are ahead there: this one would have waited"),
    Verdict.UNHEALTHY: _("does not pass its health checks now"),
    Verdict.LEFT_OUT: _("could not be started on this machine"),
    Verdict.DRAINING: _("is being taken out of service"),
    Verdict.PROTOCOL: _("does not support what this call needs"),
    Verdict.NOT_WANTED: _("the request asked for other providers"),
    Verdict.IGNORED: _("the request asked not to use this provider"),
    Verdict.TOO_DEAR: _("costs more than the request's highest price"),
    Verdict.QUANTIZATION: _("has a different precision from the one requested"),
    Verdict.DATA_COLLECTION: _("may keep prompts, which the request forbids"),
    Verdict.PARAMETERS: _("does not support a parameter that the request requires"),
}
VERDICT_NAMES: Mapping[str, str | Promise] = {
    Verdict.CHOSEN: _("chosen"),
    Verdict.TIED: _("tied"),
    Verdict.SLOWER: _("slower"),
    Verdict.BUSY: _("busy"),
    Verdict.UNHEALTHY: _("down"),
    Verdict.LEFT_OUT: _("not started"),
    Verdict.DRAINING: _("draining"),
    Verdict.PROTOCOL: _("unsuitable"),
    Verdict.NOT_WANTED: _("not asked for"),
    Verdict.IGNORED: _("ignored"),
    Verdict.TOO_DEAR: _("too expensive"),
    Verdict.QUANTIZATION: _("other precision"),
    Verdict.DATA_COLLECTION: _("may keep data"),
    Verdict.PARAMETERS: _("lacks a parameter"),
}
"""The same in a word or two, where a column has room for no more."""
TERMS: dict[str, tuple[str | Promise, str | Promise]] = {
    "wait": (
        _("Wait in the router"),
        _("Until the engine has room for one more. The policy sets its weight in the score."),
    ),
    "ahead": (
        _("Prompts ahead"),
        _("Until it starts with this prompt: it first reads those that came before."),
    ),
    "prefill": (
        _("Reading the prompt"),
        _("The part of the prompt that is not cached from an earlier call."),
    ),
    "decode": (
        _("Writing the answer"),
        _(
            "Token by token, at the usual length of such answers, alongside all calls that run "
            "there."
        ),
    ),
    "others": (
        _("Slowing others"),
        _(
            "The time that this call adds to all others there. It counts so that calls do not "
            "crowd together."
        ),
    ),
    "penalty": (
        _("Price and preferences"),
        _("What the route's policy counts for the price, and what the call's wishes add."),
    ),
}
"""The terms of an engine's score, in order of time: label and meaning. Keys are the fields of
:class:`router.contracts.record.TermsRecord`, and ``wait`` for the wait in the router.
"""

REASONS: dict[str, str | Promise] = {
    "whyChosen": _("{worker} was chosen out of {n}: it had the lowest score, {score}."),
    "whyOnly": _("{worker} was the only option for this call."),
    "whyLeft": _("{worker} was the only option left after the earlier attempts."),
    "whyLost": _("{worker}: {reason}"),
    "whyBehind": _("{seconds} behind in the score"),
    "whyMost": _("most of it: {term}"),
    "whyMore": _("{n} more were not chosen: see the table."),
    "late": _("A late attempt"),
    "attempt": _("Attempt {n}, {worker}"),
    "outrun": _("{worker} was late, so the call was also sent to another worker, which won."),
    "outrunHedge": _(
        "The call was also sent to {worker}, because an earlier attempt was late. "
        "The earlier attempt won."
    ),
    "retried": _("{worker} did not answer correctly ({outcome}). Another worker took over."),
    "gaveUp": _("{worker} did not answer correctly ({outcome}). There was no further attempt."),
}
"""Sentences about a decision and its tries; `said` or the script fills in each ``{name}``."""


def said(word: str, **values: object) -> str:
    """The sentence of this name, filled in."""
    return str(REASONS[word]).format(**values)
