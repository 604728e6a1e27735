"""The demo: an organisation with credit, and a catalog over the local fleet."""
