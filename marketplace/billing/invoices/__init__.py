"""Invoices and payout statements: what moved on one account in one month, once and for good."""
