"""Paging of the management API. Apart from the views: Django REST framework imports it early."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """Pages that stay put while rows are added: ``?cursor=``, ``?page_size=`` up to 200."""

    ordering: str | tuple[str, ...] = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
