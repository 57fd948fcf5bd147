"""Assets, a file for each layer."""
