"""The Lipschitz constant of a compiled model's loss, measured while it trains."""
