"""Who may do what: callers, keys, and what is kept of their acts."""
