"""``manage.py secrets``: under which key secrets are sealed, and rotating it."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.operations.resealing import Sealed, secrets_look, secrets_rotate
from marketplace.shared.sealing import Purpose


class Command(BaseCommand):
    help = "Say under which key secrets are sealed, or seal them under the newest."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("status", help="how many are under the newest key, and how many are not")
        verbs.add_parser("rotate", help="seal all under the newest keys")

    def handle(self, *args: Any, **options: Any) -> None:
        is_rotation = options["verb"] == "rotate"
        found = secrets_rotate() if is_rotation else secrets_look()
        verb = "were" if is_rotation else "are"
        for purpose, counts in found.items():
            older = counts[Sealed.OLDER]
            self.stdout.write(
                f"{purpose}: {counts.total()}, of which {older} {verb} under an older key"
            )
        if unreadable := _unreadable(found):
            raise CommandError(f"{unreadable} cannot be read: is a key left out?")


def _unreadable(found: dict[Purpose, Counter[Sealed]]) -> str:
    return ", ".join(
        f"{counts[Sealed.UNREADABLE]} of the {purpose}"
        for purpose, counts in found.items()
        if counts[Sealed.UNREADABLE]
    )
