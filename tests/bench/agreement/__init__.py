"""Whether MLPerf's LoadGen and Locust measure the same of the same load."""
