"""The states of an optimizer: dicts that know whether somebody else may hold what is in them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any


class State(dict[str, Any]):
    """The state of one parameter: a dict that shows its arrays to whoever asks, and remembers that someone did.

    Until then nobody else holds the arrays, so a step need not look whether they were changed for others.
    ``State.changes`` is another object whenever something in any of them is shown or changed, by whatever thread.
    """

    changes = object()
    _hidden: dict[str, Any] | None = None

    @classmethod
    def hidden(cls, arrays: dict[str, Any]) -> "State":
        """A state whose arrays nobody has seen yet."""
        state = cls()
        state._hidden = arrays
        return state

    @property
    def shown(self) -> bool:
        """Whether the arrays have been seen."""
        return self._hidden is None

    def peek(self) -> Mapping[str, Any]:
        """The arrays, not counted as seen: for those who neither keep nor replace them."""
        return MappingProxyType(self) if self._hidden is None else self._hidden

    def complete(self, arrays: Mapping[str, Any]) -> None:
        """Add arrays that nobody has seen yet."""
        State.changes = object()
        if self._hidden is None:
            dict.update(self, arrays)
        else:
            self._hidden.update(arrays)

    def drop(self, names: Collection[str]) -> None:
        """Leave out arrays that are not needed any more."""
        State.changes = object()
        for name in names:
            dict.pop(self, name, None) if self._hidden is None else self._hidden.pop(name, None)

    def show(self) -> None:
        """Let the arrays be seen."""
        if self._hidden is not None:
            State.changes = object()
            dict.update(self, self._hidden)
            self._hidden = None

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter(self.items())


def peek(state: Any) -> Any:
    """What is in a dict, not counted as seen where it is an optimizer's state."""
    return state.peek() if isinstance(state, State) else state


class States(defaultdict[Hashable, Any]):
    """The states of all parameters, whose changes are noted in the same way."""

    def __init__(self, states: Mapping[Hashable, Mapping[str, Any]] | None = None) -> None:
        super().__init__(State)
        for key, state in (states or {}).items():
            self[key] = state

    def __setitem__(self, key: Hashable, state: Any) -> None:
        super().__setitem__(key, State(state) if type(state) is dict else state)

    def __reduce__(self) -> Any:
        return States, (), None, None, iter(self.items())


def _noted(kind: type[dict[Any, Any]], name: str) -> Callable[..., Any]:
    method = getattr(kind, name)

    @wraps(method)
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        State.changes = object()
        return method(self, *args, **kwargs)

    return noted


def _showing(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    @wraps(method)
    def showing(self: State, *args: Any, **kwargs: Any) -> Any:
        self.show()
        return method(self, *args, **kwargs)

    return showing


_READ = "__contains__ __getitem__ __iter__ __len__ __or__ __repr__ __reversed__ __ror__ copy get items keys values"
_CHANGE = "__delitem__ __ior__ __setitem__ clear pop popitem setdefault update"
for _name in ("__eq__", "__ne__", *_READ.split(), *_CHANGE.split()):
    setattr(State, _name, _showing(_name))
for _name in _CHANGE.split():
    setattr(State, _name, _noted(State, _name))
    setattr(States, _name, _noted(States, _name))
