"""The topology: the live state of the fleet, from the routers and the catalog."""
