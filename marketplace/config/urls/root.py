"""The URL root: pages, the management API and its schema, jobs of ``/v1/``, the admin, metrics."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from marketplace.config.metrics import metrics
from marketplace.config.wellknown import favicon, robots, sitemap
from marketplace.keys.consents.exchange import metadata

# The admin uses the same login, with its rate limits and second factors.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.autodiscover()

urlpatterns = [
    path("", include("marketplace.config.urls.pages")),
    path("api/", include("marketplace.config.urls.api")),
    path("v1/", include("marketplace.config.urls.jobs")),
    path("metrics", metrics),
    path(".well-known/oauth-authorization-server", metadata),
    path("robots.txt", robots, name="robots"),
    path("sitemap.xml", sitemap, name="sitemap"),
    path("favicon.ico", favicon, name="favicon"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]

handler500 = "marketplace.config.errors.faults.server_error"
