"""Type aliases shared by the package."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

# A backend tensor, or anything `keras.ops.convert_to_tensor` takes. Keras publishes
# no tensor type, so there is no narrower one to name.
Tensor = Any

# A gradient for each weight, `None` where there is none.
Gradients = Sequence[Tensor | None]

FloatArray = npt.NDArray[np.float64]

# Which closed form of the Lipschitz constant: the paper's, or the one that is never
# exceeded.
Bound = Literal["paper", "strict"]
