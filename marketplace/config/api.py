"""What every endpoint of the management API shares: paging."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    """Pages that stay put while rows are added: ``?cursor=``, ``?page_size=`` up to 200."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
