"""A configuration of two services and two models."""

SMALL = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
  files: {engine: xllamacpp, models_dir: models}
models:
  chat: {service: rehearsal, vram_mb: 6000, aliases: [talk]}
  draw: {service: files, file: draw.gguf, vram_mb: 100}
"""
