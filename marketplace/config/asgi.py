"""The web process: ``granian --interface asginl marketplace.config.asgi:application``."""

import resource

from django.conf import settings

from marketplace.config import wsgi  # First: it sets Django up.
from marketplace.config.front.front import Front, Uploads
from marketplace.config.front.uploading import is_known

THREADS = 16
BODY_S = 15.0
BODIES_BYTES_MAX = 64 * 1024 * 1024
UPLOAD_S = 60.0
UPLOAD_BYTES_PER_S_MIN = 16 * 1024
"""Slower clients would hold the few uploads that are taken at once."""

# Each connection is an open file, and slow ones wait: the default of 1,024 is too low.
_, _files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_files_max, _files_max))

application = Front(
    wsgi.application,
    threads=THREADS,
    body_bytes_max=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    bodies_bytes_max=BODIES_BYTES_MAX,
    body_s=BODY_S,
    uploads=Uploads(
        settings.UPLOAD_PATHS,
        settings.UPLOAD_BODY_BYTES_MAX,
        UPLOAD_S,
        UPLOAD_BYTES_PER_S_MIN,
        settings.UPLOADS_AT_ONCE,
        is_known,
    ),
)
