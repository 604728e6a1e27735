"""Clicks that break something are asked about once more, on a page that says what they break.

A page and a form, not a dialog: it works by keyboard, without scripts, and for whoever posts.
"""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

CONFIRMED = "confirmed"
"""The field that only the form of the page in between has."""
NOT_KEPT = frozenset({CONFIRMED, "csrfmiddlewaretoken"})


def is_confirmed(request: HttpRequest) -> bool:
    """Whether who posts has seen what it breaks."""
    return request.POST.get(CONFIRMED) == "1"


def confirmation(
    request: HttpRequest, *, question: str, effects: Sequence[str], verb: str, back: str
) -> HttpResponse:
    """The page in between: ``effects`` in words, a button ``verb``, and the URL ``back``."""
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
