"""The fleet as it is at this moment: what the routers say, over what the catalog has."""
