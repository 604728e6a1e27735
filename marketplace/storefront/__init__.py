"""What visitors see of the catalog: browse, compare, rankings and quotes. It has no tables."""
