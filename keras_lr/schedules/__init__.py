"""Schedules: learning rates as functions of the step, optimized or from a table."""

from keras_lr.schedules.lrs_opt import optimize_schedule
from keras_lr.schedules.optimized import OptimizedSchedule
from keras_lr.schedules.tabulated import TabulatedSchedule

__all__ = ["OptimizedSchedule", "TabulatedSchedule", "optimize_schedule"]
