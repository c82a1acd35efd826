"""Everything that touches disk or network: pictures, samples, models, data sets and weights."""
