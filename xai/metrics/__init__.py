"""Numbers that say how good explanations are, and how far they agree."""
