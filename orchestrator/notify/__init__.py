"""Who is told of what went wrong, or of a load that has ended, without having to ask."""
