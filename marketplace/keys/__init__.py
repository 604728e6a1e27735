"""API keys: their form, pages, rotation, command and endpoints, and how tools ask for one.

The table of keys is in accounts.
"""
