"""What the daemon counts, in Prometheus' words: a view of it that changes nothing."""
