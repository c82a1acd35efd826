"""Turn notebooks into pages that open anywhere: execute, check, export, and tell whether an export is still fresh."""
