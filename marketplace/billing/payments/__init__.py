"""Money from outside: top-ups by Stripe, refunds, disputes, auto-recharge, and staff's own orders.

Rows here record Stripe's state. The money moves as transfers; ``PaymentTransfer`` links them to
the rows, and `proofs` compares the two.
"""
