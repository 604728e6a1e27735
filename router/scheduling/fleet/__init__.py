"""The workers and endpoints that there are, the state of each, and what routers share of them."""
