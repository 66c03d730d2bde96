"""Reads devices: NVML, the host itself, or a fake."""
