"""API keys: their form, pages, rotation, command and endpoints. Their rows are accounts'."""
