"""Pages and the management API as a WSGI application; ``asgi.py`` serves it."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
application = get_wsgi_application()
# Django imports the views at the first request; import them before it.
_ = get_resolver().url_patterns
# Freeze permanent objects: a full collection over them stops a page for a tenth of a second.
gc.collect()
gc.freeze()
