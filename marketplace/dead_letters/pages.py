"""The staff's page of dead letters."""

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.access import staff_required
from marketplace.dead_letters.models import DeadLetter
from marketplace.dead_letters.services import letter_retry

ROWS_PER_PAGE = 50


@require_safe
@staff_required
def dead_letters(request: HttpRequest) -> HttpResponse:
    """All of them, the newest first."""
    return _page(request)


@require_POST
@staff_required
def retry(request: HttpRequest, letter_id: int) -> HttpResponse:
    """Send one to its queue again."""
    row = get_object_or_404(DeadLetter, pk=letter_id)
    try:
        letter_retry(dead=row, retried_by=request.user)  # type: ignore[arg-type] # staff_required
    except ValidationError as error:
        return _page(request, " ".join(error.messages), status=422)
    return redirect("dead-letters")


def _page(request: HttpRequest, problem: str = "", status: int = 200) -> HttpResponse:
    rows = DeadLetter.objects.select_related("retried_by").defer("body")
    page = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "here": reverse("dead-letters"), "problem": problem}
    return render(request, "dead_letters/dead_letters.html", context, status=status)
