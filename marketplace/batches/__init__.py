"""Files, and batches of calls from them, in OpenAI's shapes."""
