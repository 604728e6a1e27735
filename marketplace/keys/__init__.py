"""API keys: their form, pages, rotation, command and endpoints. The table is in accounts."""
