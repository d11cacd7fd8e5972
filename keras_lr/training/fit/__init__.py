"""One fit in which the learning rate moves: the rate's owner, records, rollbacks."""
