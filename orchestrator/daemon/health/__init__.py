"""Whether the daemon lives, told by a thread of its own on a listener of its own."""
