"""A pickle, read as data: what it asks Python to import or call is neither imported nor called.

A pickle is a program for a machine with a stack (``pickletools`` documents it), whose instructions may import
any module and call anything in it. A file of tensors needs few of them. Here each is carried out on plain
values; a name that it would import stands for what the caller gives for it, or is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

# Instructions that put a value, written in the pickle itself, on the stack.
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class RefusedError(ValueError):
    """What a pickle asks for, in words that follow the file's name."""


def read_pickle(stream: io.BytesIO, names: Mapping[str, object], storage: Callable[[Any], object]) -> Any:
    """Read one pickle, to its end in the stream.

    ``names``: what stands for "module.name"; where the pickle calls it, it must be a function, and is given
    the arguments. ``storage``: what stands for an object that is kept outside of the pickle, of its id.

    Raises RefusedError where the pickle asks for anything else, another ValueError, IndexError, KeyError or
    TypeError where it is no pickle.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        mark = marks.pop()
        taken = stack[mark:]
        del stack[mark:]
        return taken

    def named(name: str) -> object:
        if name not in names:
            raise RefusedError(f"asks for {name}")
        return names[name]

    value: Any
    for instruction, value, _ in pickletools.genops(stream):
        match instruction.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in LITERALS:
                stack.append(value)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                taken = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(taken)))
            case "APPEND" | "APPENDS" as name:
                taken = [stack.pop()] if name == "APPEND" else since_mark()
                _of(list, stack[-1]).extend(taken)
            case "SETITEM" | "SETITEMS" as name:
                taken = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
                fill(_of(dict, stack[-1]), zip(taken[::2], taken[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "GLOBAL":
                stack.append(named(value.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, name = stack.pop(-2), stack.pop()
                stack.append(named(f"{_of(str, module)}.{_of(str, name)}"))
            case "BINPERSID":
                stack.append(storage(stack.pop()))
            case "REDUCE":
                stand_in, arguments = stack.pop(-2), stack.pop()
                if not callable(stand_in):
                    raise RefusedError("calls something that is not a function")
                stack.append(stand_in(*_of(tuple, arguments)))
            case "BUILD":  # an attribute of a state dict, such as its _metadata: not needed
                stack.pop()
                _of(dict, stack[-1])
            case "STOP":
                return stack.pop()
            case name:
                raise RefusedError(f"has the instruction {name}")
    raise ValueError("the pickle has no end")


def fill(target: dict[str, Any], pairs: Any) -> None:
    """Put pairs of a text and anything into a dict."""
    for key, value in pairs:
        target[_of(str, key)] = value


def _of(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} is where a {kind.__name__} should be")
    return value
