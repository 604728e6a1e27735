"""What engines report of themselves: their load, and what is in their caches."""
