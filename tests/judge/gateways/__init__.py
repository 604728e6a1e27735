"""The gateways that are compared, and how each is installed and started."""
