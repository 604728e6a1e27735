"""Results for people: charts and files."""
