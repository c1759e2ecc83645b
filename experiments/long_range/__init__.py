"""Two tasks whose answer at a node stands arbitrarily far away."""
