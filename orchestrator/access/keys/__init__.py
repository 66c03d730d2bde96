"""API keys: what they are, what they allow, where they are kept."""
