"""The only folder that uses Keras's internals.

Everything the package needs of them goes through here, so that a new Keras release is
handled in one place: optimizer wrappers, the epoch a fit resumes from, masks, and the
losses a model was compiled with.
"""

from keras_lr._keras.companions import (
    companions,
    is_in_another_fit,
    restored_batches,
)
from keras_lr._keras.hyperparameters import (
    require_float_attribute,
    with_hyperparameters,
)
from keras_lr._keras.learning_rates import (
    effective_learning_rates,
    get_learning_rates,
    last_learning_rates,
    learning_rate_variable,
    require_settable_learning_rate,
    set_learning_rate,
    set_learning_rate_schedule,
)
from keras_lr._keras.losses import (
    compiled_losses,
    data_loss,
    loss_arguments,
    output_entry,
    output_keys,
    total,
    training_loss,
)
from keras_lr._keras.models import (
    activation_name,
    all_layers,
    build,
    build_optimizer,
    has_standard_step,
    input_shapes,
    is_built,
    keras_mask,
    operation_inputs,
    output_position,
    parts_that_train,
    print_message,
    producing_operation,
    require_known_executions,
    require_new_model,
    restored_epoch,
    symbolic_call,
)
from keras_lr._keras.optimizers import (
    further_optimizers,
    intercepted,
    leaf_optimizers,
    loss_scale,
    replace_optimizer,
    require_single_optimizer,
    scalar,
    scales_loss,
    to_float,
)
from keras_lr._keras.pure_step import (
    PureStep,
    StepState,
    pure_step_of,
    require_single_update,
    require_trainable_weights,
)
from keras_lr._keras.scopes import full_precision, leaving_no_trace, outside_of_trace
from keras_lr._keras.whole_batch import WholeBatchOptimizer, squared_norms

__all__ = [
    "PureStep",
    "StepState",
    "WholeBatchOptimizer",
    "activation_name",
    "all_layers",
    "build",
    "build_optimizer",
    "companions",
    "compiled_losses",
    "data_loss",
    "effective_learning_rates",
    "full_precision",
    "further_optimizers",
    "get_learning_rates",
    "has_standard_step",
    "input_shapes",
    "intercepted",
    "is_built",
    "is_in_another_fit",
    "keras_mask",
    "last_learning_rates",
    "leaf_optimizers",
    "learning_rate_variable",
    "leaving_no_trace",
    "loss_arguments",
    "loss_scale",
    "operation_inputs",
    "output_entry",
    "output_keys",
    "output_position",
    "outside_of_trace",
    "parts_that_train",
    "print_message",
    "producing_operation",
    "pure_step_of",
    "replace_optimizer",
    "require_float_attribute",
    "require_known_executions",
    "require_new_model",
    "require_settable_learning_rate",
    "require_single_optimizer",
    "require_single_update",
    "require_trainable_weights",
    "restored_batches",
    "restored_epoch",
    "scalar",
    "scales_loss",
    "set_learning_rate",
    "set_learning_rate_schedule",
    "squared_norms",
    "symbolic_call",
    "to_float",
    "total",
    "training_loss",
    "with_hyperparameters",
]
