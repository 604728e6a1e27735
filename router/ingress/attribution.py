"""Which application and whose end user made a call, by headers.

``HTTP-Referer`` is the application's address: only its public host name is kept, so that neither
the paths nor the queries of people's pages are. ``X-Title`` is the name to show for it.
"""

import re
from collections.abc import Mapping

from msgspec import structs

from router.domain.request import NO_APP, App, InferenceRequest
from router.pipeline.plans.routing_table import Grant

REFERER = b"http-referer"
TITLE = b"x-title"
END_USER = b"x-end-user"
HOST_MAX = 100
TITLE_MAX = 60
"""The longest host name and title, in characters. A longer title is cut."""
APPS_MAX = 100
"""How many applications of one organisation a router tells apart in a day (UTC)."""
ORGANISATIONS_MAX = 10_000
"""Of how many organisations. Applications beyond either bound are not recorded."""
DAY_MS = 86_400_000

_HOST = re.compile(
    rb"https?://((?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*)(?::\d+)?(?:[/?#]|$)", re.IGNORECASE
)


def app_of(referer: bytes, title: bytes) -> App:
    """The application of these headers; ``NO_APP`` without a public host name.

    Addresses and names of a local network are nobody's application.
    """
    found = _HOST.match(referer)
    if found is None or len(found[1]) > HOST_MAX:
        return NO_APP
    shown = "".join(c if c.isprintable() else " " for c in title.decode(errors="replace"))
    return App(found[1].decode().lower(), " ".join(shown.split())[:TITLE_MAX])


class Attribution:
    """Bounds how many applications a router records: each makes rows in the sums of an hour."""

    def __init__(self) -> None:
        self._day = 0
        self._known: dict[int, set[str]] = {}

    def attributed(
        self, grant: Grant, call: InferenceRequest, headers: Mapping[bytes, bytes]
    ) -> InferenceRequest:
        """The call with the application and the end user of its headers."""
        if REFERER in headers:
            title = headers.get(TITLE, b"")
            app = self.app_of(grant.organisation_id, call.created_at_ms, headers[REFERER], title)
            call = structs.replace(call, app=app)
        if END_USER in headers:
            call = structs.replace(call, end_user=headers[END_USER].decode(errors="replace"))
        return call

    def app_of(self, organisation_id: int, now_ms: int, referer: bytes, title: bytes) -> App:
        """See :func:`app_of`. ``now_ms`` is Unix time."""
        app = app_of(referer, title)
        if app is NO_APP:
            return app
        day = now_ms // DAY_MS
        if day != self._day:
            self._day, self._known = day, {}
        known = self._known.get(organisation_id)
        if known is None:
            if len(self._known) >= ORGANISATIONS_MAX:
                return NO_APP
            known = self._known[organisation_id] = set()
        if app.host not in known:
            if len(known) >= APPS_MAX:
                return NO_APP
            known.add(app.host)
        return app
