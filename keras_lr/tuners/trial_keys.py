"""Names under which a trial carries what a search needs to know of it.

`Zooming` and `BLiE` share them. Files of searches, and tuners of users, have them, so
they keep their prefix.
"""

# Among the values of a trial, beside its learning rate.
PULL = "zooming/pull"
SEED = "zooming/seed"

# Among its metrics: only these travel from a worker to the chief.
SIGNAL = "zooming/signal"
INITIAL_LOSS = "zooming/initial_loss"
FINAL_LOSS = "zooming/final_loss"
EPOCHS = "zooming/epochs"
