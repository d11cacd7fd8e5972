"""The mathematics: numbers, arrays or tensors in, numbers or tensors out."""
