"""The APIs that clients use: OpenAI's, Anthropic's Messages and the Open Inference Protocol."""
