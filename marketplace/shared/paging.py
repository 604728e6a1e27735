"""Paging of the management API. A module without views: Django REST framework imports it early."""

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from marketplace.shared.texts import unkept


class NewestFirst(CursorPagination):
    """Pages that do not shift when rows are added: ``?cursor=``, ``?page_size=`` up to 200."""

    ordering: str | tuple[str, ...] = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_ordering(
        self, request: Request, queryset: QuerySet[Model], view: APIView
    ) -> tuple[str, ...]:
        """The field to order by. 404 if the cursor's position is no value of that field."""
        ordering = super().get_ordering(request, queryset, view)
        cursor = self.decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            self._check(queryset.model, ordering[0].lstrip("-"), str(cursor.position))
        return ordering

    def _check(self, model: type[Model], name: str, position: str) -> None:
        """Raise 404 unless the cursor's position is a value of the field."""
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            # An annotation has no model field that could check it.
            field = None
        try:
            if unkept(position):
                raise ValueError(position)
            if field is not None:
                field.run_validators(field.to_python(position))  # type: ignore[union-attr]
        except (ValidationError, ValueError, OverflowError) as error:
            raise NotFound(self.invalid_cursor_message) from error
