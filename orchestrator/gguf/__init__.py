"""Reads a model file's header and predicts what it will occupy."""
