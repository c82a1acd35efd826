"""The entries of the registry, a file for each family."""
