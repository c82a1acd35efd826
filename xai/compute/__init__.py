"""Computations on tensors: traces, activations, filters and explanation methods. No drawing, no files."""
