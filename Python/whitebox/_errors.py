# Copyright Whitebox's authors. Licence: Apache-2.0.
"""What goes wrong, by kind: the kinds are the exit codes of the program."""

from __future__ import annotations


class Error(Exception):
    """Something could not be done. Its text is one sentence: what is wrong, with which file or option, and what would work."""

    #: The exit code that the program has for it.
    code = 1


class InputError(Error, ValueError):
    """A picture or an array is missing, broken, or not what it should be."""

    code = 3


class ModelError(Error, ValueError):
    """A model is missing, broken, or contradicts itself."""

    code = 4


class UnsupportedModelError(ModelError):
    """A model uses operators or features that are not supported."""

    code = 5


class LayerError(Error, ValueError):
    """There is no such layer, or it cannot be mapped."""

    code = 6


class ClassError(Error, ValueError):
    """There is no such class."""

    code = 7


class DeviceError(Error):
    """The device is not there, or not able."""

    code = 8


class MethodError(Error, ValueError):
    """A method cannot be applied to this layer or with these options."""

    code = 9


class OutputError(Error, OSError):
    """A result cannot be written, or is there already."""

    code = 10


class SettingsError(Error, ValueError):
    """A preprocessing or label file is broken, or does not fit."""

    code = 11


class LimitError(Error, MemoryError):
    """A limit on memory or work would be exceeded."""

    code = 12


class UsageError(Error, TypeError):
    """An argument is wrong."""

    code = 64


class Cancelled(Error):
    """Another thread ended the call."""

    code = 130


_kinds = {
    kind.code: kind
    for kind in (
        InputError, ModelError, UnsupportedModelError, LayerError, ClassError, DeviceError, MethodError, OutputError,
        SettingsError, LimitError, UsageError, Cancelled,
    )
}


def error_of_code(code: int, sentence: str) -> Error:
    return _kinds.get(code, Error)(sentence)


for _kind in (Error, *_kinds.values()):
    # As people import them.
    _kind.__module__ = "whitebox"
