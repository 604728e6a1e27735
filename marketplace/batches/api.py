"""``/v1/files`` and ``/v1/batches``: what OpenAI's clients call."""

from http import HTTPStatus
from typing import Any, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import FileResponse
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.models import Organisation, User
from marketplace.batches.files.services import (
    FileInUse,
    FileRefused,
    file_delete,
    file_upload,
    files_storage,
)
from marketplace.batches.models import Batch, File, Purpose
from marketplace.batches.services import BatchRefused, batch_cancel, batch_create_once
from marketplace.batches.shapes import batch_object, file_object, page_object
from marketplace.inference.errors import JobError
from marketplace.inference.idempotency import REPLAYED, fingerprint_of, key_of
from marketplace.inference.views import JobsView

FILES_PAGE_MAX = 10_000
BATCHES_PAGE, BATCHES_PAGE_MAX = 20, 100
T = TypeVar("T", File, Batch)


class FilesView(JobsView):
    """The organisation's files."""

    parser_classes = [MultiPartParser]

    def get(self, request: Request) -> Response:
        """Newest first; ``purpose``, ``order``, ``limit`` and ``after`` as OpenAI has them."""
        asked = FilesQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        rows = File.objects.filter(organisation=self.caller.organisation_id)
        if wanted["purpose"]:
            rows = rows.filter(purpose=wanted["purpose"])
        found, has_more = paged(rows, wanted)
        return Response(page_object(found, has_more, file_object))

    def post(self, request: Request) -> Response:
        """Keep an input of batches, sent as a form with ``purpose`` and ``file``."""
        content = request.FILES.get("file")
        if not isinstance(content, UploadedFile):
            raise JobError("Send the file as the field 'file' of a form.", param="file")
        if request.POST.get("purpose") != Purpose.BATCH:
            raise JobError("purpose must be 'batch'.", param="purpose")
        try:
            file = file_upload(
                organisation=Organisation.objects.get(pk=self.caller.organisation_id),
                content=content,
                filename=content.name or "input.jsonl",
                created_by=_person(request),
            )
        except FileRefused as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            if error.code in {"file_too_large", "files_quota_exceeded"}:
                status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise JobError(str(error), code=error.code, param="file", status=status) from error
        return Response(file_object(file))


class FileView(JobsView):
    """One file."""

    def get(self, request: Request, public_id: str) -> Response:
        """What is known of it."""
        return Response(file_object(_file(self, public_id)))

    def delete(self, request: Request, public_id: str) -> Response:
        """Delete it, unless an open batch reads it."""
        try:
            file_delete(file=_file(self, public_id))
        except FileInUse as error:
            said = f"A batch that is not over reads {public_id}: cancel it first."
            raise JobError(said, code="file_in_use", status=HTTPStatus.CONFLICT) from error
        return Response({"id": public_id, "object": "file", "deleted": True})


class _Whatever(DefaultContentNegotiation):
    """Bytes are bytes, whatever is asked for."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


class FileContentView(JobsView):
    """The bytes of a file."""

    content_negotiation_class = _Whatever

    def get(self, request: Request, public_id: str) -> FileResponse:
        """As they are, in pieces."""
        return file_response(_file(self, public_id))


class BatchesView(JobsView):
    """The organisation's batches."""

    def get(self, request: Request) -> Response:
        """Newest first; ``limit`` and ``after`` as OpenAI has them."""
        asked = BatchesQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        rows = Batch.objects.filter(organisation=self.caller.organisation_id)
        found, has_more = paged(rows, asked.validated_data)
        return Response(page_object(found, has_more, batch_object))

    def post(self, request: Request) -> Response:
        """Queue a batch; the same request again under one ``Idempotency-Key`` gets the first."""
        asked = BatchSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            batch, was_there = batch_create_once(
                caller=self.caller,
                idempotency_key=key_of(request),
                fingerprint=fingerprint_of(request.data),
                asked_by=_person(request),
                **asked.validated_data,
            )
        except BatchRefused as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            if error.code == "too_many_batches":
                status = HTTPStatus.TOO_MANY_REQUESTS
            said = str(error)
            raise JobError(said, code=error.code, param=error.param, status=status) from error
        return Response(batch_object(batch), headers={REPLAYED: "true"} if was_there else None)


class BatchView(JobsView):
    """One batch."""

    def get(self, request: Request, public_id: str) -> Response:
        """How far it is."""
        return Response(batch_object(_batch(self, public_id)))


class BatchCancelView(JobsView):
    """Cancelling a batch."""

    def post(self, request: Request, public_id: str) -> Response:
        """Ask it to end; what was done is delivered. One that is over stays as it is."""
        return Response(batch_object(batch_cancel(batch=_batch(self, public_id))))


class PageQuery(serializers.Serializer[Any]):
    after = serializers.CharField(required=False, default="")


class FilesQuery(PageQuery):
    limit = serializers.IntegerField(
        min_value=1, max_value=FILES_PAGE_MAX, required=False, default=FILES_PAGE_MAX
    )
    order = serializers.ChoiceField(("asc", "desc"), required=False, default="desc")
    purpose = serializers.CharField(required=False, default="")


class BatchesQuery(PageQuery):
    limit = serializers.IntegerField(
        min_value=1, max_value=BATCHES_PAGE_MAX, required=False, default=BATCHES_PAGE
    )


class BatchSerializer(serializers.Serializer[Any]):
    input_file_id = serializers.CharField()
    endpoint = serializers.CharField()
    completion_window = serializers.CharField(default="24h")
    metadata = serializers.DictField(child=serializers.CharField(), allow_null=True, default=None)


def paged(rows: QuerySet[T], wanted: dict[str, Any]) -> tuple[list[T], bool]:
    """The rows after ``after``, and whether there are more."""
    oldest_first = wanted.get("order") == "asc"
    if wanted["after"]:
        last = rows.filter(public_id=wanted["after"]).values_list("pk", flat=True).first()
        if last is None:
            raise JobError(f"after names nothing here: {wanted['after']!r}.", param="after")
        rows = rows.filter(pk__gt=last) if oldest_first else rows.filter(pk__lt=last)
    limit = wanted["limit"]
    found = list(rows.order_by("pk" if oldest_first else "-pk")[: limit + 1])
    return found[:limit], len(found) > limit


def file_response(file: File) -> FileResponse:
    """Its bytes as an attachment."""
    content = files_storage().open(file.stored_as)
    return FileResponse(
        content,
        as_attachment=True,
        filename=file.filename,
        content_type="application/octet-stream",
    )


def _file(view: JobsView, public_id: str) -> File:
    rows = File.objects.filter(organisation=view.caller.organisation_id)
    file = rows.filter(public_id=public_id).first()
    if file is None:
        raise NotFound(f"There is no file {public_id!r}.")
    return file


def _batch(view: JobsView, public_id: str) -> Batch:
    rows = Batch.objects.filter(organisation=view.caller.organisation_id)
    batch = rows.filter(public_id=public_id).first()
    if batch is None:
        raise NotFound(f"There is no batch {public_id!r}.")
    return batch


def _person(request: Request) -> User | None:
    return request.user if isinstance(request.user, User) else None
