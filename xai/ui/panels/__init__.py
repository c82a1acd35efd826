"""The panels of the pages, one module per page."""
