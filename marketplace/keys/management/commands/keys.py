"""``manage.py keys create|list|revoke``: API keys from the command line, for people and scripts."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.accounts.models import ApiKey, Organisation, Scope
from marketplace.accounts.services import api_key_create, api_key_revoke


class Command(BaseCommand):
    help = "Create, list and revoke the API keys of an organisation."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a key and print it, once")
        create.add_argument("--org", required=True, help="the organisation's slug")
        create.add_argument("--name", default="command line")
        create.add_argument("--scope", action="append", choices=Scope.values)
        create.add_argument("--json", action="store_true", dest="as_json")
        listing = verbs.add_parser("list", help="list keys, masked")
        listing.add_argument("--org", required=True)
        listing.add_argument("--json", action="store_true", dest="as_json")
        revoke = verbs.add_parser("revoke", help="switch a key off for good")
        revoke.add_argument("id", type=int)

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        {"create": self._create, "list": self._list, "revoke": self._revoke}[verb](options)

    def _create(self, options: dict[str, Any]) -> None:
        try:
            row, key = api_key_create(
                organisation=_organisation(options["org"]),
                name=options["name"],
                scopes=options["scope"] or [Scope.INFERENCE],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["as_json"]:
            self.stdout.write(json.dumps({"id": row.pk, "name": row.name, "key": key}))
        else:
            self.stdout.write(key)

    def _list(self, options: dict[str, Any]) -> None:
        rows = _organisation(options["org"]).api_keys.all()
        if options["as_json"]:
            self.stdout.write(json.dumps([_as_json(row) for row in rows]))
            return
        for row in rows:
            used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
            self.stdout.write(f"{row.pk}\t{row.masked}\t{row.status}\t{used}\t{row.name}")

    def _revoke(self, options: dict[str, Any]) -> None:
        row = ApiKey.objects.filter(pk=options["id"]).first()
        if row is None:
            raise CommandError(f"no key has the id {options['id']}: see `manage.py keys list`")
        api_key_revoke(api_key=row)
        self.stdout.write(f"{row.masked} is revoked")


def _organisation(slug: str) -> Organisation:
    found = Organisation.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(Organisation.objects.values_list("slug", flat=True)[:10]) or "none yet"
        raise CommandError(f"no organisation has the slug {slug!r} (there is: {known})")
    return found


def _as_json(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.pk,
        "name": row.name,
        "masked": row.masked,
        "status": row.status,
        "scopes": row.scopes,
        "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
    }
