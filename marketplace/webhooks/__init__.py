"""Webhooks by Standard Webhooks: a customer's URL is told what happened, signed, until it hears."""
