"""The URL root: pages, the management API and its schema, Django's admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("marketplace.config.urls_pages")),
    path("api/", include("marketplace.config.urls_api")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]
