"""Work that need not wait, under ``/v1/``: what the router passes through to this process."""

from django.urls import URLPattern, URLResolver, re_path

from marketplace.inference.views import UnknownJobPathView

urlpatterns: list[URLPattern | URLResolver] = [
    re_path("", UnknownJobPathView.as_view()),
]
