"""A history lived through again by the real core, on a machine that is none, in virtual time."""
