"""SCAN: cluster images without labels, and explain the clusters."""
