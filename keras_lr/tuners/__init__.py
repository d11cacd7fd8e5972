"""Searches over learning rates, for KerasTuner."""

from keras_lr.tuners.blie import BLiE, BLiEOracle
from keras_lr.tuners.zooming import Zooming, ZoomingOracle

__all__ = ["BLiE", "BLiEOracle", "Zooming", "ZoomingOracle"]
