"""A whole machine in memory, for simulations in virtual time."""
