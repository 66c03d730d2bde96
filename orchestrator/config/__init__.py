"""The operator's file, read once into a frozen Config. Nothing else reads the environment."""
