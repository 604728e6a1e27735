"""What stands between a client and the views: no thread waits for a client."""
