"""Whether there is room, where, and who would have to leave for it."""
