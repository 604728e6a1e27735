"""Webhooks by Standard Webhooks: signed events to a customer's URL, repeated until received."""
