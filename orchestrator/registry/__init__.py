"""Remembers residents, leases, operations, events and footprints."""
