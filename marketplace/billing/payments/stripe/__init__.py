"""Stripe: our calls to it, its events, and its reports on payments."""
