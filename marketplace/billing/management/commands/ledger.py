"""``manage.py ledger``: prove the ledger, and repair it by hand."""

import getpass
import time
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, connection
from django.db.models import Sum

from marketplace.accounts.models import User
from marketplace.billing.models import Seal, Transfer, TransferKind
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.billing.recovery import (
    JournalCopy,
    journal_compare,
    journal_read,
    records_settle,
    router_write_off,
    routers_alive,
)
from marketplace.billing.rights import weaknesses
from marketplace.billing.seals.proof import unsigned
from marketplace.billing.seals.services import seal_sign
from marketplace.billing.services import transfer_explain, transfer_reverse
from router.domain.money import format_usd

NAMED_MAX = 100


class Command(BaseCommand):
    help = (
        "Prove the ledger, settle what a router's disk still holds, write a lost router off, "
        "reverse a transfer or answer for one."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verify = verbs.add_parser(
            "verify", help="exit 1 and say what when anything does not add up"
        )
        verify.add_argument(
            "--from-beginning",
            action="store_true",
            help="from the first transfer and call on, and every seal",
        )
        verify.add_argument(
            "--routers-stopped",
            action="store_true",
            help="leases past their end are no gap: their routers close them as they start",
        )
        verify.add_argument("--journal", type=Path, help="a router's journal, to compare with it")
        verify.add_argument("--max-age", type=float, default=60.0, help="seconds that may pass")
        verbs.add_parser(
            "sign", help="after a new DJANGO_SECRET_KEY: prove from the beginning, sign the seal"
        )
        replay = verbs.add_parser("replay", help="settle the calls of a journal; safe to repeat")
        replay.add_argument("path", type=Path, help="a folder, a segment or a …-rejected.jsonl")
        replay.add_argument("--force", action="store_true", help="also streams that may still run")
        write_off = verbs.add_parser("write-off", help="close the leases of a router that is lost")
        write_off.add_argument("router")
        write_off.add_argument("--reason", required=True)
        write_off.add_argument("--by", default=getpass.getuser(), help="who decided it")
        write_off.add_argument("--force", action="store_true", help="even if the router is there")
        for verb, what in (
            ("reverse", "move a transfer's money back, once"),
            (
                "explain",
                "answer by name for a transfer that has no order",
            ),
        ):
            order = verbs.add_parser(verb, help=what)
            order.add_argument("transfer", type=int, help="its id")
            order.add_argument("--reason", required=True)
            order.add_argument("--by", required=True, metavar="EMAIL", help="who of the staff")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb.replace('-', '_')}")(options)

    def _verify(self, options: dict[str, Any]) -> None:
        # The journal is read first: calls that settle during the proof are then in the ledger.
        found = _read(options["journal"], routers_alive()) if options["journal"] else None
        proof = ledger_proof(
            recent_only=not options["from_beginning"], routers_stopped=options["routers_stopped"]
        )
        gaps = list(proof.gaps)
        if found is not None:
            gaps += self._compared(found, options["max_age"])
        for gap in gaps:
            self.stderr.write(gap)
        covers = Transfer.objects.filter(kind=TransferKind.COVER)
        covered = covers.aggregate(nano=Sum("amount_nano", default=0))["nano"]
        if covered:
            self.stdout.write(f"The platform paid ${format_usd(covered)} for late calls.")
        with connection.cursor() as cursor:
            for words in weaknesses(cursor, str(connection.settings_dict["USER"])):
                self.stdout.write(f"Only triggers protect the books: {words}.")
        if gaps:
            raise CommandError(f"the ledger has {len(gaps)} gaps", returncode=1)
        self.stdout.write(
            f"The ledger balances: {proof.transfers} transfers over {proof.accounts} accounts."
        )

    def _sign(self, options: dict[str, Any]) -> None:
        last = Seal.objects.first()
        if last is None:
            raise CommandError("there is no seal yet")
        gaps = [gap for gap in ledger_proof().gaps if gap != unsigned(last)]
        if gaps:
            raise CommandError("\n".join(["nothing is signed:", *gaps]))
        seal_sign(seal=last)
        self.stdout.write(f"Seal {last.pk} is signed, through transfer {last.through}.")

    def _compared(self, found: JournalCopy, max_age_s: float) -> list[str]:
        """Print the comparison of a journal with the ledger; returns the gaps."""
        compared = journal_compare(found, now_ms=time.time_ns() // 1_000_000)
        self.stdout.write(
            f"The journal: {compared.settled} calls settled, {len(compared.waiting)} wait, "
            f"{compared.running} run."
        )
        for request_id, waited_s in list(compared.waiting.items())[:NAMED_MAX]:
            self.stdout.write(f"call {request_id} waits to be settled since {waited_s:.0f} s")
        late = sum(waited_s > max_age_s for waited_s in compared.waiting.values())
        gaps = list(compared.differing)
        if late:
            gaps.append(
                f"{late} journalled calls wait longer than {max_age_s:.0f} s: start their "
                "router again, or settle them (manage.py ledger replay)"
            )
        if found.unreadable:
            gaps.append(f"{found.unreadable} entries of the journal are no records")
        gaps += [f"{name} is damaged: calls in it may be unbilled" for name in found.damaged]
        return gaps

    def _replay(self, options: dict[str, Any]) -> None:
        found = _read(options["path"], frozenset() if options["force"] else routers_alive())
        replay = records_settle(records=found.records)
        for request_id, reason in replay.refused:
            self.stderr.write(f"call {request_id} is refused: {reason}")
        for name in found.damaged:
            self.stderr.write(f"{name} has bytes that are no record before others that were read")
        for name in found.torn:
            self.stderr.write(f"{name} ends in bytes that are no record")
        refused = len(replay.refused) + found.unreadable
        self.stdout.write(
            f"{replay.new} new, {replay.known} known already, {refused} refused "
            f"({found.unreadable} of them unreadable), "
            f"{len(found.running)} streams left to a router that is there."
        )
        if refused:
            raise CommandError(f"{refused} entries could not be settled", returncode=1)

    def _write_off(self, options: dict[str, Any]) -> None:
        try:
            write_off = router_write_off(
                router_id=options["router"],
                reason=options["reason"],
                by=options["by"],
                force=options["force"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(
            f"{write_off.leases} leases of {write_off.router_id} are closed: "
            f"${format_usd(write_off.amount_nano)} may be spent again."
        )

    def _reverse(self, options: dict[str, Any]) -> None:
        transfer = _transfer(options["transfer"])
        try:
            reversal = transfer_reverse(
                transfer=transfer, reason=options["reason"], ordered_by=_staff(options["by"])
            )
        except IntegrityError as error:
            raise CommandError(f"its receiver has not got ${_usd(transfer)} any more") from error
        self.stdout.write(f"Transfer {reversal.pk} moves ${_usd(transfer)} back.")

    def _explain(self, options: dict[str, Any]) -> None:
        try:
            order = transfer_explain(
                transfer=_transfer(options["transfer"]),
                reason=options["reason"],
                ordered_by=_staff(options["by"]),
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(
            f"Transfer {order.pk} is answered for by {order.ordered_by}: {order.reason}"
        )


def _transfer(number: int) -> Transfer:
    found = Transfer.objects.filter(pk=number).first()
    if found is None:
        raise CommandError(f"there is no transfer {number}")
    return found


def _staff(email: str) -> User:
    found = User.objects.filter(email=email, is_staff=True, is_active=True).first()
    if found is None:
        raise CommandError(f"nobody of the staff has the address {email}")
    return found


def _usd(transfer: Transfer) -> str:
    return format_usd(transfer.amount_nano)


def _read(path: Path, alive: frozenset[str]) -> JournalCopy:
    try:
        return journal_read(path, alive=alive)
    except (OSError, ValueError) as error:
        raise CommandError(f"the journal cannot be read: {error}") from error
