"""Ollama's API: what its clients send, as OpenAI requests, and the answers, as they read them."""
