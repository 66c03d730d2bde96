"""Takes orders from HTTP and the command line, and hands out what came of them."""
