"""What organisations list for themselves alone: their own endpoints, with keys of their own."""
