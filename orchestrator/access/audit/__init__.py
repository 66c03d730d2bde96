"""Who did what: lines that follow one another by hashes, so that a change of one shows."""
