"""The control plane: accounts, catalog, money and pages, on Django."""
