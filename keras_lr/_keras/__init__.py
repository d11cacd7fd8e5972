"""The only folder that touches what Keras keeps to itself.

Everything the package needs of Keras's internals goes through here, so that a new
Keras release is met in one place: optimizer wrappers, the epoch a fit resumes from,
masks, and the losses a model was compiled with.
"""

from keras_lr._keras.losses import (
    compiled_losses,
    loss_arguments,
    output_entry,
    output_keys,
)
from keras_lr._keras.models import (
    activation_name,
    all_layers,
    build,
    full_precision,
    input_shapes,
    is_built,
    keras_mask,
    operation_inputs,
    output_position,
    outside_of_trace,
    print_message,
    producing_operation,
    restored_epoch,
    symbolic_call,
)
from keras_lr._keras.optimizers import (
    get_learning_rates,
    leaf_optimizers,
    learning_rate_variable,
    replace_optimizer,
    require_settable_learning_rate,
    set_learning_rate,
    set_learning_rate_schedule,
    to_float,
)
from keras_lr._keras.whole_batch import WholeBatchOptimizer, squared_norms

__all__ = [
    "WholeBatchOptimizer",
    "activation_name",
    "all_layers",
    "build",
    "compiled_losses",
    "full_precision",
    "get_learning_rates",
    "input_shapes",
    "is_built",
    "keras_mask",
    "leaf_optimizers",
    "learning_rate_variable",
    "loss_arguments",
    "operation_inputs",
    "output_entry",
    "output_keys",
    "output_position",
    "outside_of_trace",
    "print_message",
    "producing_operation",
    "replace_optimizer",
    "require_settable_learning_rate",
    "restored_epoch",
    "set_learning_rate",
    "set_learning_rate_schedule",
    "squared_norms",
    "symbolic_call",
    "to_float",
]
