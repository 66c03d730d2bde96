"""Streams of what happens, and what many ask for, encoded once."""
