"""A confirmation page before an action that breaks something; it lists what breaks.

It is a page and a form, not a dialog: it works by keyboard and without scripts.
"""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

CONFIRMED = "confirmed"
"""The field that only the confirmation page's form has."""
NOT_KEPT = frozenset({CONFIRMED, "csrfmiddlewaretoken"})


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the request comes from the confirmation page."""
    return request.POST.get(CONFIRMED) == "1"


def confirmation(
    request: HttpRequest, *, question: str, effects: Sequence[str], verb: str, back: str
) -> HttpResponse:
    """The confirmation page: sentences ``effects``, a button ``verb``, and the URL ``back``."""
    kept = [
        (name, value)
        for name, values in request.POST.lists()
        if name not in NOT_KEPT
        for value in values
    ]
    context = {
        "question": question,
        "effects": effects,
        "verb": verb,
        "back": back,
        "kept": kept,
        "confirmed": CONFIRMED,
    }
    return render(request, "confirm.html", context)
