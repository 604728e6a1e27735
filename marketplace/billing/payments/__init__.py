"""Money from outside: top-ups by Stripe, refunds, disputes, auto-recharge, and staff's own orders.

Stripe's state is recorded on rows here; what it means in money is posted as transfers, which
``PaymentTransfer`` ties to those rows and `proofs` compares with them.
"""
