"""Why a place was chosen or lost, in plain words, by the verdict of a decision's record."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

VERDICTS: dict[str, str | Promise] = {
    "chosen": _("chosen: the lowest score"),
    "tied": _("as good as the chosen one; the other was drawn"),
    "slower": _("free, but expected to take longer"),
    "busy": _("others are ahead there: it would have had to wait"),
    "unhealthy": _("does not pass its health checks now"),
    "left_out": _("could not be started on this machine"),
    "draining": _("is being taken out of service"),
    "protocol": _("does not speak what this call needs"),
    "not_wanted": _("the request asked for other providers"),
    "ignored": _("the request asked not to use this provider"),
    "too_dear": _("costs more than the request's highest price"),
    "quantization": _("has another precision than the request asked for"),
    "data_collection": _("may keep prompts, which the request forbids"),
    "parameters": _("does not act on a parameter that the request requires"),
}
"""The verdicts of :class:`router.contracts.record.CandidateRecord`."""

SCORED = frozenset({"chosen", "tied", "slower", "busy"})
"""Verdicts of places that had a score; the others were ruled out before."""

REASONS: dict[str, str | Promise] = {
    "whyChosen": _("{worker} was chosen out of {n}: it had the lowest score, {score}."),
    "whyOnly": _("{worker} was the only place that could serve this call."),
    "whyLost": _("{worker}: {reason}"),
    "whyBehind": _("{seconds} behind in the score"),
    "whyMore": _("{n} more lost; the table has them."),
    "late": _("A try that was late"),
    "attempt": _("Try {n}, {worker}"),
    "outrun": _("{worker} was late, so the call was also sent to another place, which won."),
    "retried": _("{worker} did not answer as it should ({outcome}); another place took over."),
}
"""Sentences about a decision and its tries; ``{name}`` is filled in by `said` or by the script."""


def said(word: str, **values: object) -> str:
    """The sentence of this name."""
    return str(REASONS[word]).format(**values)
