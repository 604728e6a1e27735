"""Texts for a decision's record: why a place was chosen or lost, by verdict."""

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from router.domain.verdict import Verdict

VERDICTS: Mapping[str, str | Promise] = {
    Verdict.CHOSEN: _("chosen: the lowest score"),
    Verdict.TIED: _("as good as the chosen one; the other was drawn"),
    Verdict.SLOWER: _("free, but expected to take longer"),
    Verdict.BUSY: _("others are ahead there: it would have had to wait"),
    Verdict.UNHEALTHY: _("does not pass its health checks now"),
    Verdict.LEFT_OUT: _("could not be started on this machine"),
    Verdict.DRAINING: _("is being taken out of service"),
    Verdict.PROTOCOL: _("does not speak what this call needs"),
    Verdict.NOT_WANTED: _("the request asked for other providers"),
    Verdict.IGNORED: _("the request asked not to use this provider"),
    Verdict.TOO_DEAR: _("costs more than the request's highest price"),
    Verdict.QUANTIZATION: _("has another precision than the request asked for"),
    Verdict.DATA_COLLECTION: _("may keep prompts, which the request forbids"),
    Verdict.PARAMETERS: _("does not act on a parameter that the request requires"),
}
TERMS: dict[str, tuple[str | Promise, str | Promise]] = {
    "wait": (
        _("Wait in the router"),
        _("Until the engine has room for one more. The score weighs it as the policy says."),
    ),
    "ahead": (
        _("Prompts ahead"),
        _("Until it begins with this prompt: it reads those that came before."),
    ),
    "prefill": (
        _("Reading the prompt"),
        _("All of the prompt that it does not remember from an earlier call."),
    ),
    "decode": (
        _("Writing the answer"),
        _("Token by token, as long as such answers usually are, beside all that run there."),
    ),
    "others": (
        _("Slowing others"),
        _("What this call adds to all others there. It counts, or calls would crowd together."),
    ),
}
"""The terms of an engine's score, in order of time: label and meaning. Keys are the fields of
:class:`router.contracts.record.TermsRecord`, and ``wait`` for the wait in the router.
"""

REASONS: dict[str, str | Promise] = {
    "whyChosen": _("{worker} was chosen out of {n}: it had the lowest score, {score}."),
    "whyOnly": _("{worker} was the only place that was weighed for this call."),
    "whyLeft": _("{worker} was the only place weighed after the tries before it."),
    "whyLost": _("{worker}: {reason}"),
    "whyBehind": _("{seconds} behind in the score"),
    "whyMost": _("most of it: {term}"),
    "whyMore": _("{n} more lost; the table has them."),
    "late": _("A try that was late"),
    "attempt": _("Try {n}, {worker}"),
    "outrun": _("{worker} was late, so the call was also sent to another place, which won."),
    "outrunHedge": _("{worker} was sent the call too, as an earlier try was late; that one won."),
    "retried": _("{worker} did not answer as it should ({outcome}); another place took over."),
    "gaveUp": _("{worker} did not answer as it should ({outcome}); nothing was tried after it."),
}
"""Sentences about a decision and its tries; `said` or the script fills in each ``{name}``."""


def said(word: str, **values: object) -> str:
    """The sentence of this name, filled in."""
    return str(REASONS[word]).format(**values)
