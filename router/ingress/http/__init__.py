"""HTTP with clients: connections, calls and answers as bytes."""
