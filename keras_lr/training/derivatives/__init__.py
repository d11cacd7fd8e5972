"""Derivatives of losses and of an optimizer's step, and the tensors for them."""
