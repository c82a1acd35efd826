"""Train a classifier on labelled pictures: recipe, batches, loop, checkpoints and measures."""
