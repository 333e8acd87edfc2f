# Copyright Whitebox's authors. Licence: Apache-2.0.
"""libwhitebox.so, by ctypes: what whitebox.h declares, and nothing else.

ctypes and not cffi: cffi would be one more package to install and, to be faster, one wheel for each version of Python. A call takes some
microseconds this way, beside milliseconds that an explanation takes. ctypes gives the interpreter's lock back while it calls.
"""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER, c_bool, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_void_p
from typing import Sequence

from ._errors import Error, UsageError, error_of_code

FOLDER = os.path.dirname(os.path.abspath(__file__))
#: The program, for what is done in a process of its own.
PROGRAM = os.path.join(FOLDER, "app")


class Picture(ctypes.Structure):
    _fields_ = [
        ("kind", c_int),
        ("name", c_char_p),
        ("data", c_void_p),
        ("size", c_size_t),
        ("height", c_int32),
        ("width", c_int32),
        ("target", c_char_p),
    ]


FILE, ENCODED, PIXELS, NUMBERS = range(4)


class Array(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("shape", c_int64 * 3), ("rank", c_int32)]


MAP, HEATMAP, SAMPLE_ERROR, LOGITS, PROBABILITIES, VIEW = range(6)

Progress = ctypes.CFUNCTYPE(c_bool, c_void_p, c_double)
File = ctypes.CFUNCTYPE(c_bool, c_void_p, c_char_p, POINTER(c_uint8), c_size_t)

_texts = POINTER(c_char_p)
_error = POINTER(c_void_p)
_functions = {
    "interface": (c_uint32, []),
    "version": (c_char_p, []),
    "numerics": (c_uint32, []),
    "error_code": (c_int, [c_void_p]),
    "error_text": (c_char_p, [c_void_p]),
    "error_free": (None, [c_void_p]),
    "model_open": (c_void_p, [c_char_p, _texts, c_size_t, _error]),
    "model_json": (c_char_p, [c_void_p, _error]),
    "model_free": (None, [c_void_p]),
    "engine_open": (c_void_p, [c_void_p, _texts, c_size_t, _error]),
    "engine_json": (c_char_p, [c_void_p, _error]),
    "engine_cancel": (None, [c_void_p]),
    "engine_free": (None, [c_void_p]),
    "explain": (c_void_p, [c_void_p, POINTER(Picture), c_size_t, c_void_p, c_void_p, _error]),
    "results_free": (None, [c_void_p]),
    "results_count": (c_size_t, [c_void_p]),
    "results_json": (c_char_p, [c_void_p, c_size_t]),
    "results_array": (c_bool, [c_void_p, c_size_t, c_size_t, c_int, POINTER(Array)]),
    "results_files": (c_bool, [c_void_p, c_size_t, _texts, c_size_t, File, c_void_p, _error]),
    "results_save": (c_bool, [POINTER(c_void_p), c_size_t, c_char_p, _texts, c_size_t, _error]),
}


def _load():
    path = os.path.join(FOLDER, "libwhitebox.so")
    try:
        library = ctypes.CDLL(path)
    except OSError as reason:
        raise ImportError(f"Whitebox's library cannot be loaded: {reason}") from None
    functions = {}
    for name, (result, arguments) in _functions.items():
        function = getattr(library, "whitebox_" + name)
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    major = functions["interface"]() >> 16
    if major != 1:
        raise ImportError(f"{path} has version {major} of the interface, and this package needs version 1.")
    return functions


#: The library's functions, by their names without `whitebox_`.
functions = _load()


def encoded(word: str) -> bytes:
    """A text for C, where it ends with a zero. Names of files may be any bytes, as os.fsencode has them."""
    try:
        bytes_ = os.fsencode(word)
    except UnicodeEncodeError:
        raise UsageError(f"{word!r} is no text, and no file's name.") from None
    if b"\0" in bytes_:
        raise UsageError(f"{word!r} has a NUL in it, which no name and no option may have.")
    return bytes_


def texts(words: Sequence[str]):
    """An array of texts for C."""
    return (c_char_p * len(words))(*map(encoded, words))


def text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


# Threads of the library do not come along into a forked process, and whatever waits for them would wait for ever.
_is_forked = False


def _forked():
    global _is_forked
    _is_forked = True


os.register_at_fork(after_in_child=_forked)


def call(name: str, *arguments):
    """Calls a function whose last parameter takes an error, and raises that."""
    if _is_forked:
        raise Error(
            "This process was forked from one that has loaded whitebox, whose threads did not come along; start it by spawn "
            "(multiprocessing.get_context(\"spawn\")), or import whitebox after the fork."
        )
    error = c_void_p()
    result = functions[name](*arguments, ctypes.byref(error))
    if error.value is not None:
        try:
            code = functions["error_code"](error)
            sentence = text(functions["error_text"](error))
        finally:
            functions["error_free"](error)
        raise error_of_code(code, sentence)
    if not result:
        raise Error(f"whitebox_{name} failed and did not say why.")
    return result


def interruptible(work, end, forget=lambda result: None):
    """Calls `work`, so that Ctrl-C is heard at once.

    Python hears of it in the main thread only, and only between its own instructions; within a function that C calls it would be lost. So the main
    thread waits, and another works. After an interrupt `end` asks the work to end, which is waited for, and `forget` is given what came of it.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    outcome = []
    begun, ended = threading.Event(), threading.Event()

    def run():
        begun.set()
        try:
            outcome.append((True, work()))
        except BaseException as reason:  # raised again below
            outcome.append((False, reason))
        finally:
            ended.set()

    try:
        threading.Thread(target=run, name="whitebox", daemon=True).start()
        ended.wait()
    except BaseException:
        end()
        # Whatever is interrupted again, nothing of this call must go on without it.
        while begun.wait(1) and not ended.is_set():
            try:
                ended.wait()
            except BaseException:
                continue
        if outcome and outcome[0][0]:
            forget(outcome[0][1])
        raise
    succeeded, value = outcome[0]
    if not succeeded:
        raise value
    return value


class Handle:
    """An object of the library, freed with this one."""

    def __init__(self, kind: str, pointer: int):
        self.pointer = pointer
        self._free = functions[kind + "_free"]

    def __del__(self):
        pointer, self.pointer = getattr(self, "pointer", None), None
        if pointer and not _is_forked:
            self._free(pointer)
