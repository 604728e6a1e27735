"""Processes: starting them, knowing them again, asking for their health and ending them."""
