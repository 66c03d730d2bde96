"""A stand-in llama-server, and the account of what it takes from fake devices."""
