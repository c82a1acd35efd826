"""The looks at a network that the notebooks take, each one figure and the sentence of numbers it is read with."""
