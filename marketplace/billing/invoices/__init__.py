"""Invoices and payout statements: the final record of an account's month."""
