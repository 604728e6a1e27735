"""Batches for people: upload a file, watch it run, download the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import msgspec
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.batches.api import file_response
from marketplace.batches.files.services import (
    FILE_BYTES_MAX,
    MB,
    FileRefused,
    file_upload,
    files_storage,
)
from marketplace.batches.formats.lines import LINES_MAX, first_url, rows_endpoint
from marketplace.batches.formats.results import error_of
from marketplace.batches.formats.rows import ROWS_MAX
from marketplace.batches.models import Batch, File
from marketplace.batches.services import BatchRefused, batch_cancel, batch_create
from marketplace.catalog.models import Task
from marketplace.catalog.selectors import batch_discounts, models_published
from marketplace.inference.callers import Caller
from marketplace.shared.confirming import confirmation, is_confirmed

ROWS_PER_PAGE = 25
FAILURES_SHOWN = 20
FAILURE_BYTES_MAX = 64 * 1024
WINDOWS = ("1h", "24h", "7d")
WINDOW_INITIAL = "24h"


@require_safe
@organisation_required
def batches(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's, newest first, and a form for another."""
    return _list(request, organisation, model=request.GET.get("model", ""))


def _list(
    request: HttpRequest,
    organisation: Organisation,
    *,
    model: str,
    window: str = WINDOW_INITIAL,
    problem: str = "",
) -> HttpResponse:
    """The page; browsers keep no file that was chosen, so the rest of a refused form."""
    rows = Batch.objects.filter(organisation=organisation).select_related("asked_by")
    page = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "here": reverse("batches"),
        "is_moving": any(batch.is_open for batch in page.object_list),
        "may_call": may(request.user, organisation, Permission.CALL),
        "windows": WINDOWS,
        "window_chosen": window,
        "problem": problem,
        "tables": [row.name for row in models_published().filter(task=Task.TABULAR)],
        "table_chosen": model,
        "rows_max": ROWS_MAX,
        "lines_max": LINES_MAX,
        "megabytes_max": FILE_BYTES_MAX // MB,
    }
    status = 422 if problem else 200
    return render(request, "batches/batches.html", context, status=status)


@require_POST
@organisation_required
def upload(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Keep the file and begin a batch over it.

    Its first line says which endpoint is called; where it does not, it is a table for a model.
    """
    demand(request, organisation, Permission.CALL)
    content, user = request.FILES.get("file"), request.user
    model, window = request.POST.get("model", ""), request.POST.get("completion_window", "")
    chosen: dict[str, Any] = {"model": model, "window": window}
    if not isinstance(content, UploadedFile) or not isinstance(user, User):
        return _list(request, organisation, **chosen, problem=_("Choose a file first."))
    try:
        endpoint = first_url(content) or rows_endpoint(model)
        file = file_upload(
            organisation=organisation,
            content=content,
            filename=content.name or "input.jsonl",
            created_by=user,
        )
        batch = batch_create(
            caller=Caller(organisation.pk, organisation.billing_account.pk, user_id=user.pk),
            input_file_id=file.public_id,
            endpoint=endpoint,
            completion_window=window or WINDOW_INITIAL,
            asked_by=user,
        )
    except (FileRefused, BatchRefused) as error:
        return _list(request, organisation, **chosen, problem=str(error))
    return redirect("batch", batch.public_id)


@require_safe
@organisation_required
def batch(request: HttpRequest, organisation: Organisation, public_id: str) -> HttpResponse:
    """One batch; while it is open the page asks again by itself."""
    row = _one(organisation, public_id)
    context = {
        "batch": row,
        "discounts": batch_discounts(row.model_names),
        "expected_at": row.lines_end_at(timezone.now()),
        "input": File.objects.filter(public_id=row.input_file_id).first(),
        "failures": failures_of(row.error_file),
        "may_call": may(request.user, organisation, Permission.CALL),
    }
    return render(request, "batches/batch.html", context)


@require_POST
@organisation_required
def cancel(request: HttpRequest, organisation: Organisation, public_id: str) -> HttpResponse:
    """Cancel it, once that is confirmed."""
    demand(request, organisation, Permission.CALL)
    row = _one(organisation, public_id)
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Cancel the batch?"),
            effects=[
                _("Lines that are not sent yet will not be sent."),
                _("Lines that are already answered are delivered and stay charged."),
            ],
            verb=_("Cancel the batch"),
            back=reverse("batch", args=[row.public_id]),
        )
    batch_cancel(batch=row)
    return redirect("batch", row.public_id)


@require_safe
@organisation_required
def download(
    request: HttpRequest, organisation: Organisation, public_id: str, kind: str
) -> FileResponse:
    """One of its files: ``input``, ``output`` or ``errors``."""
    row = _one(organisation, public_id)
    ids = {
        "input": row.input_file_id,
        "output": row.output_file_id,
        "errors": row.error_file_id,
    }
    if kind not in ids:
        raise Http404
    return file_response(get_object_or_404(organisation.files, public_id=ids[kind]))


@dataclass(frozen=True, slots=True)
class Failure:
    """A line that failed, in short."""

    custom_id: str
    code: str
    message: str


def failures_of(file: File | None) -> Sequence[Failure]:
    """The first lines of an error file."""
    if file is None:
        return ()
    with files_storage().open(file.stored_as) as content:
        return [*islice(_failures(content), FAILURES_SHOWN)]


def _failures(content: IO[bytes]) -> list[Failure]:
    whole, _rest, _cut = content.read(FAILURE_BYTES_MAX).rpartition(b"\n")
    found = []
    for text in whole.splitlines():
        line = msgspec.json.decode(text)
        error, response = line["error"], line["response"]
        if error is None:
            code, message = error_of(msgspec.json.encode(response["body"]), response["status_code"])
        else:
            code, message = error["code"], error["message"]
        found.append(Failure(line["custom_id"], code, message))
    return found


def _one(organisation: Organisation, public_id: str) -> Batch:
    rows = Batch.objects.select_related("output_file", "error_file", "asked_by")
    return get_object_or_404(rows, organisation=organisation, public_id=public_id)
