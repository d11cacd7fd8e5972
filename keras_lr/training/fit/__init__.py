"""One fit in which the learning rate moves: its owner, its record, and the way back."""
