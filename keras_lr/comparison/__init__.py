"""Compare ways of setting the learning rate on one problem."""

from keras_lr.comparison.compare import compare_policies
from keras_lr.comparison.conditions import Conditions
from keras_lr.comparison.policy import Policy, RunContext
from keras_lr.comparison.result import ComparisonResult
from keras_lr.comparison.runner import RunRecord
from keras_lr.comparison.summary import PolicySummary

__all__ = [
    "ComparisonResult",
    "Conditions",
    "Policy",
    "PolicySummary",
    "RunContext",
    "RunRecord",
    "compare_policies",
]
