"""Explanations of a clustering, as arrays: no drawing, no files."""
