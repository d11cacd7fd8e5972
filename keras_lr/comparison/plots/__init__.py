"""The pictures of a comparison; each function takes and returns its axes."""
