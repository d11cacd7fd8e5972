"""Networks on images, trained under one policy after the other."""
