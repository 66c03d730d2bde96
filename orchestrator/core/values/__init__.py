"""Values, no decisions: bytes, models, residents, leases, refusals, events and effects."""
