"""Accounts: users, organisations, memberships and API keys."""
