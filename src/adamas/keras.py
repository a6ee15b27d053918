# pyright: reportMissingImports=false, reportUntypedClassDecorator=false, reportUntypedBaseClass=false
# pyright: reportAttributeAccessIssue=false
# Keras is not among what the project installs.
"""Schedules for Keras, with any of its backends.

>>> import keras
>>> from adamas.keras import LearningRateSchedule
>>> from adamas.schedules import cosine, warmup
>>> optimizer = keras.optimizers.AdamW(LearningRateSchedule(1e-3 * (warmup(500) >> cosine(9_500))))
"""

from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from adamas.errors import InputError, InputTypeError
from adamas.schedules import Schedule, from_json

_WORDS = SimpleNamespace(
    minimum=ops.minimum,
    maximum=ops.maximum,
    where=ops.where,
    floor=ops.floor,
    sqrt=ops.sqrt,
    cos=ops.cos,
    log=ops.log,
    pow=ops.power,
)


@keras.saving.register_keras_serializable(package="adamas")
class LearningRateSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule as Keras takes it for a ``learning_rate``; it is saved with a model and loaded again.

    Args:
        schedule: its values are η itself: give ``1e-3 * f``.

    Raises:
        InputError: where it moves the momentum, which Keras' optimizers keep.
    """

    def __init__(self, schedule: Schedule) -> None:
        if not isinstance(schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"A {type(schedule).__name__} is no schedule: make one by adamas.schedules.")
        if schedule.moves_momentum:
            raise InputError(f"{schedule} moves the momentum, which Keras' optimizers keep: give momentum=None.")
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """η for the step after `step` others, computed in float32."""
        return ops.cast(self.schedule.factor(_WORDS, ops.cast(step, "float32")), "float32")

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes it from."""
        return {"schedule": self.schedule.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearningRateSchedule":
        """The schedule that `get_config` described."""
        return cls(from_json(config["schedule"]))
