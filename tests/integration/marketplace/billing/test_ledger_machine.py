"""Any sequence of grants, leases, settlements, payouts and closings, against a short model."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from marketplace.billing.models import Account, Payment
from marketplace.billing.payments.services import payment_succeed
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.billing.services import payout_record
from tests.examples import stored_examples
from tests.integration.marketplace.ledger import (
    USD,
    credit_grant,
    lease_close,
    lease_take,
    record,
    settle,
    transfer_reverse,
)
from tests.integration.marketplace.shop import open_shop

SMALL = st.integers(1, 3 * USD)


class LedgerMachine(RuleBasedStateMachine):
    """Spends through leases only, as a router does; repeats records and closings at will."""

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.shop = open_shop()
        self.account_id = self.shop.customer_account.pk
        self.provider_id = self.shop.provider_account.pk
        self.granted = 10 * USD
        self.spent = 0
        self.earned = 0
        self.payouts: dict[str, int] = {}
        self.left: dict[Any, int] = {}
        self.settled: list[Any] = []
        self.closed: list[Any] = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    @rule(amount=SMALL)
    def grant(self, amount: int) -> None:
        credit_grant(organisation=self.shop.organisation, amount_nano=amount)
        self.granted += amount

    @rule(cents=st.integers(1, 300))
    def top_up(self, cents: int) -> None:
        payment = Payment.objects.create(
            organisation=self.shop.organisation, purpose="topup", amount_cents=cents
        )
        intent = f"pi_{payment.pk}"
        payment_succeed(payment=payment, intent_id=intent, received_cents=cents, currency="usd")
        self.granted += payment.amount_nano

    @rule(amount=SMALL, back=st.booleans())
    def order(self, amount: int, back: bool) -> None:
        made = grant_order(
            organisation=self.shop.organisation,
            amount_nano=amount,
            reason="An outage.",
            ordered_by=self.shop.owner,
        )
        if back:
            transfer_reverse(transfer=made.transfer)
        else:
            self.granted += amount

    @rule(data=st.data())
    def settle_late(self, data: st.DataObject) -> None:
        """Calls of a lease that was closed: the platform pays what the account cannot."""
        if not self.closed:
            return
        lease = data.draw(st.sampled_from(self.closed))
        charges = data.draw(st.lists(SMALL, min_size=1, max_size=3))
        free = self.granted - self.spent - sum(self.left.values())
        settle(
            *(
                record(
                    account_id=self.account_id,
                    provider_account_id=self.provider_id,
                    lease_id=lease,
                    charge_nano=charge,
                    commission_nano=0,
                )
                for charge in charges
            )
        )
        self.spent += sum(charges)
        self.earned += sum(charges)
        self.granted += max(sum(charges) - free, 0)

    @rule(need=SMALL, more=SMALL)
    def take(self, need: int, more: int) -> None:
        available = self.granted - self.spent - sum(self.left.values())
        lease = lease_take(self.account_id, need, need + more)
        assert (lease is None) == (available < need)
        if lease is not None:
            self.left[lease] = min(need + more, available)

    @rule(data=st.data())
    def settle_some(self, data: st.DataObject) -> None:
        if not self.left:
            return
        lease = data.draw(st.sampled_from(list(self.left)))
        charge = data.draw(st.integers(0, self.left[lease]))
        commission = data.draw(st.integers(0, charge))
        fresh = record(
            account_id=self.account_id,
            provider_account_id=self.provider_id,
            lease_id=lease,
            charge_nano=charge,
            hold_nano=charge + data.draw(st.integers(0, 5)),
            commission_nano=commission,
        )
        repeated = (
            data.draw(st.lists(st.sampled_from(self.settled), max_size=3)) if self.settled else []
        )
        applied = settle(*repeated, fresh)
        assert sum(applied.values()) == 1
        self.settled.append(fresh)
        self.left[lease] -= charge
        self.spent += charge
        self.earned += charge - commission

    @rule(extra=st.integers(1, 10))
    def overspend_is_refused(self, extra: int) -> None:
        if not self.left:
            return
        lease = next(iter(self.left))
        charge = self.left[lease] + extra
        over = record(
            account_id=self.account_id,
            provider_account_id=self.provider_id,
            lease_id=lease,
            charge_nano=charge,
        )
        with pytest.raises(DatabaseError), transaction.atomic():
            settle(over)

    @rule(amount=SMALL, reference=st.sampled_from("abc"))
    def pay_out(self, amount: int, reference: str) -> None:
        booked = self.payouts.get(reference)
        due = self.earned - sum(self.payouts.values())
        if booked == amount or (booked is None and amount <= due):
            payout_record(
                provider=self.shop.provider,
                amount_nano=amount,
                reference=reference,
                ordered_by=self.shop.owner,
            )
            self.payouts[reference] = amount
        else:
            with pytest.raises(ValidationError):
                payout_record(
                    provider=self.shop.provider,
                    amount_nano=amount,
                    reference=reference,
                    ordered_by=self.shop.owner,
                )

    def _pay_out(self, amount: int, reference: str) -> None:
        payout_record(
            provider=self.shop.provider,
            amount_nano=amount,
            reference=reference,
            ordered_by=self.shop.owner,
        )

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if not self.left:
            return
        lease = data.draw(st.sampled_from(list(self.left)))
        assert lease_close(lease) == self.left.pop(lease)
        assert lease_close(lease) == 0
        self.closed.append(lease)

    @invariant()
    def books_are_right(self) -> None:
        assert ledger_proof().gaps == ()
        account = Account.objects.get(pk=self.account_id)
        assert account.posted_nano == self.granted - self.spent
        assert account.held_nano == sum(self.left.values())
        assert Account.objects.get(pk=self.provider_id).posted_nano == self.earned - sum(
            self.payouts.values()
        )


@pytest.mark.django_db
def test_no_sequence_breaks_the_books() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=stored_examples(10),
            stateful_step_count=15,
            suppress_health_check=list(HealthCheck),
        ),
    )
