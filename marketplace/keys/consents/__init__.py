"""Signing in to get a key: a tool asks, a person agrees, the tool exchanges its code for a key.

OAuth 2.0's authorization code with PKCE (RFC 6749, 7636, 8252, 9207), for tools that nobody
registers; the token is an API key. OpenRouter's names of the same are understood too.
"""
