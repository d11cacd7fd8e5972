"""What the rules need to read from a model while it trains."""
