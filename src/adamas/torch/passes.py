"""Forward passes: what the batches of a training and of its evaluations are like, and in which mode they are made."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, is_grad_enabled, nn

from adamas.torch.batches import Inputs, first_in

#: Batches whose inputs are looked at, from the first on: of the training and of evaluations.
BATCHES, EVALUATED = 100, 20

#: Steps up to which all passes are listened to, and activations looked at at intervals; validations that are listened
#: to later; and steps after which the first of these is no longer waited for: when it comes, the next one is heard.
PROBED, HEARD, WAITED = 200, 2, 1000

_DROPS = (nn.modules.dropout._DropoutNd,)  # pyright: ignore[reportPrivateUsage]
_NORMS = (nn.modules.batchnorm._BatchNorm,)  # pyright: ignore[reportPrivateUsage]


class Passes:
    """Listens to a model, by a hook that makes a small model's pass a twentieth longer: so only while that tells much.

    Attributes:
        made: passes in training, up to when the model was last listened to.
        inputs, evaluated: what goes into the model in training, and in evaluations.
    """

    def __init__(self, model: nn.Module, entered: Callable[[], None]) -> None:
        """
        Args:
            entered: called at the beginning of each pass in training that is listened to.
        """
        self.inputs, self.evaluated = Inputs(), Inputs()
        self.made = 0
        self._model, self._entered = model, entered
        self._hook: Any = None
        self._due: float = 1  # the pass in training whose batch is looked at next
        self._first = 0, 0  # passes and steps when the first step was seen
        self._each = 0  # passes that a step has while nobody listens
        self._left = 0  # steps when that began
        self._validations = 0
        self._mode = ""  # what was at work in an evaluation in training mode
        self.listen(0)

    def begin(self, steps: int) -> None:
        """So many steps have been seen, the first ones."""
        self._first = self.made, steps

    def listen(self, steps: int) -> None:
        """Listen from now on, after so many steps."""
        if self._hook is None:
            self.made = self.until(steps)
            self._hook = self._model.register_forward_pre_hook(self._enter, with_kwargs=True)

    def leave(self, steps: int) -> None:
        """Do not."""
        if self._hook is not None:
            self._left = steps
            self._hook.remove()
            self._hook = None

    def until(self, steps: int) -> int:
        """Passes in training up to a step."""
        return self.made if self._hook is not None else self.made + self._each * (steps - self._left)

    def unheard(self, steps: int, most: int) -> int:
        """For how many steps from now on nobody need listen, at most so many; fewer than 0: one has to, as before."""
        told = self._validations
        if steps < PROBED or (told < HEARD and (told or steps < WAITED)):
            return -1
        if self._hook is not None:
            passes, first = self._first
            self._each, rest = divmod(self.made - passes, max(1, steps - first))
            if rest:  # how many there will be is not known
                return -1
        each = max(1, self._each)
        return int(min(self._due - 1 - self.until(steps), most * each) // each)

    def validated(self) -> str:
        """A validation has been told: what was at work in it that should not have been, "" where nothing is known."""
        mode, self._mode = self._mode, ""
        self._validations += 1
        return mode

    @property
    def wants(self) -> bool:
        """Whether the next validation is to be listened to."""
        return self._validations < HEARD

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not (module.training and is_grad_enabled()):
            self._evaluates(module, args, kwargs)
            return
        self.made += 1
        if self.made >= self._due:
            self._looks_at(first_in(args) if args else first_in(kwargs))
        self._entered()

    def _looks_at(self, x: Tensor | None) -> None:
        """A training batch."""
        if self.inputs.batches < BATCHES:
            self.inputs.add(x)
        if self.made >= self.inputs.next:
            self.inputs.mark(x, self.made)
        self._due = self.made + 1 if self.inputs.batches < BATCHES else self.inputs.next

    def _evaluates(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if module.training and not self._mode:
            self._mode = _at_work(module)
        if self.evaluated.batches < EVALUATED:
            self.evaluated.add(first_in(args) if args else first_in(kwargs))


def _at_work(model: nn.Module) -> str:
    """What behaves otherwise in training mode."""
    found = {
        type(m).__name__
        for m in model.modules()
        if m.training and (isinstance(m, _NORMS) or (isinstance(m, _DROPS) and m.p > 0))
    }
    if any(isinstance(m, nn.MultiheadAttention) and m.training and m.dropout > 0 for m in model.modules()):
        found.add("attention's dropout")
    if any(isinstance(m, nn.RNNBase) and m.training and m.dropout > 0 for m in model.modules()):
        found.add("the recurrence's dropout")
    return ", ".join(sorted(found))
