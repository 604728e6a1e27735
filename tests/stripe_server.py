"""``python -m tests.stripe_server --port P``: localstripe, and what payments need beyond it.

localstripe 1.15 has customers, PaymentIntents, refunds and signed webhooks. Added here, in the
shapes that Stripe documents: Checkout Sessions, idempotency keys, the page where a person pays, and
the control of the tests, ``POST /_config/checkout/<id>/pay``.

``manage.py up`` runs it too, for people to try payments: ``--deliver-to`` is where its events go,
signed with ``STRIPE_WEBHOOK_SECRET``, and ``--keep`` is the file that has what it knows, so that
customers and payments outlive it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from localstripe import resources, server, webhooks

PAY = "/pay/"
"""Where the pages are on which people pay."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# It would write all it knows to one file of the machine after every call.
resources.Store.dump_to_disk = lambda self: None
_replies: dict[str, asyncio.Future[tuple[int, str]]] = {}
_questions: dict[str, str] = {}


class Session(resources.StripeObject):
    """A Checkout Session; as much of one as its events show."""

    object = "checkout.session"
    _id_prefix = "cs_test_"

    def __init__(self, *, base_url: str, **asked: object) -> None:
        super().__init__()
        (line,) = asked["line_items"]  # type: ignore[misc]
        price = line["price_data"]
        self.amount_total = int(line["quantity"]) * int(price["unit_amount"])
        self.currency = price["currency"]
        self.client_reference_id = asked["client_reference_id"]
        self.customer = asked["customer"]
        self.payment_intent = None
        self.payment_status = "unpaid"
        self.status = "open"
        self.success_url = asked["success_url"]
        self.cancel_url = asked["cancel_url"]
        self.url = f"{base_url}{PAY}{self.id}"
        self._intent_data = asked["payment_intent_data"]

    def _pay(self, payment_method: str) -> None:
        intent = resources.PaymentIntent._api_create(
            amount=self.amount_total,
            currency=self.currency,
            customer=self.customer,
            payment_method=payment_method,
            metadata=self._intent_data["metadata"],
        )
        intent.setup_future_usage = self._intent_data.get("setup_future_usage")
        self.payment_intent = intent.id
        if resources.PaymentIntent._api_confirm(intent.id).status != "succeeded":
            raise server.UserError(402, "Your card was declined.")
        self.payment_status, self.status = "paid", "complete"
        webhooks.schedule_webhook(resources.Event("checkout.session.completed", self))


async def session_create(request: web.Request) -> web.Response:
    asked = await server.get_post_data(request)
    session = Session(base_url=str(request.url.origin()), **asked)
    return server.json_response(session._export())


async def session_retrieve(request: web.Request) -> web.Response:
    return server.json_response(
        resources.store[f"checkout.session:{request.match_info['id']}"]._export()
    )


async def session_pay(request: web.Request) -> web.Response:
    session = resources.store[f"checkout.session:{request.match_info['id']}"]
    session._pay((await server.get_post_data(request))["payment_method"])
    return server.json_response(session._export())


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Test payment</title>
<body style="font: 1rem/1.5 system-ui; max-width: 26rem; margin: 15vh auto; padding: 0 1rem">
<h1>{amount}</h1><p>This stands in for Stripe. No money moves, and no card is asked for.</p>
{said}<form method="post">
<button name="card" value="pm_card_visa">Pay</button>
<button name="card" value="pm_card_chargeCustomerFail">Pay with a card that is declined</button>
</form><p><a href="{cancel_url}">Back without paying</a></p>"""
DECLINED = '<p role="alert"><strong>The card was declined.</strong></p>'


async def session_page(request: web.Request) -> web.Response:
    """The page that Stripe hosts: by POST the person pays and is sent back."""
    session = resources.store.get(f"checkout.session:{request.match_info['id']}")
    if session is None:
        raise web.HTTPNotFound(text="This payment is not known here: begin it again.")
    said = ""
    if request.method == "POST" and session.status == "open":
        try:
            session._pay(str((await request.post())["card"]))
        except server.UserError:
            said = DECLINED
    if session.status == "complete":
        raise web.HTTPSeeOther(session.success_url)
    page = PAGE.format(
        amount=f"${session.amount_total / 100:.2f}", said=said, cancel_url=session.cancel_url
    )
    return web.Response(text=page, content_type="text/html")


def keep(path: Path) -> None:
    """Read what an earlier run wrote, and write it after every call."""
    if path.exists():
        resources.store.update(pickle.loads(path.read_bytes()))

    def dump(store: resources.Store) -> None:
        partial = path.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(dict(store)))
        partial.replace(path)

    resources.Store.dump_to_disk = dump


def idempotency_error(code: str, *, status: int) -> web.Response:
    return server.json_response(
        {"error": {"type": "idempotency_error", "code": code}}, status=status
    )


@web.middleware
async def idempotency(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The first reply to a key is the reply to all; another request with it is refused."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST":
        return await handler(request)
    question = await request.text()
    # Nothing is awaited from here until the key is taken: two at once would both find it free.
    known = _replies.get(key)
    if known is not None and not known.done():
        return idempotency_error("idempotency_key_in_use", status=409)
    if _questions.setdefault(key, question) != question:
        return idempotency_error("another request had this key", status=400)
    if known is None:
        reply = _replies[key] = asyncio.get_running_loop().create_future()
        response = await handler(request)
        reply.set_result((response.status, response.text))  # type: ignore[attr-defined]
        known = reply
    status, text = known.result()
    return web.Response(status=status, text=text, content_type="application/json")


def card_error(error: server.UserError) -> None:
    """localstripe calls a refused card an invalid request; Stripe calls it a card_error."""
    if error.code == 402:
        error.body["error"]["type"] = "card_error"


@web.middleware
async def pages_without_a_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """localstripe asks for a secret key on every path, which people have none of."""
    if request.path.startswith(PAY):
        return await session_page(request)
    return await handler(request)


@web.middleware
async def errors_as_stripe_names_them(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except server.UserError as error:
        card_error(error)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stripe_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--deliver-to", default="", metavar="URL")
    parser.add_argument("--keep", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.keep:
        keep(options.keep)
    if options.deliver_to:
        secret = os.environ["STRIPE_WEBHOOK_SECRET"]
        webhooks.register_webhook("waypost", options.deliver_to, secret, None)
    app = server.app
    app.middlewares[:0] = [pages_without_a_key, idempotency]
    app.middlewares.append(errors_as_stripe_names_them)
    app.router.add_post("/v1/checkout/sessions", session_create)
    app.router.add_get("/v1/checkout/sessions/{id}", session_retrieve)
    app.router.add_route("*", PAY + "{id}", session_page)
    app.router.add_post("/_config/checkout/{id}/pay", session_pay)
    web.run_app(app, host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
