"""How values look on the wire: shapes of answers, and the one error body."""
