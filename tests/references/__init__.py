"""Slow transcriptions of the papers, which share no code with the package."""
