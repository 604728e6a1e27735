"""The catalog's public pages: browse, compare, rankings and quotes. It has no tables."""
