"""API keys: their form, pages, rotation, and endpoints."""
