"""Errors of snnlib; jobs maps them to exit codes.

SnnlibError
├── DatasetMissing     the files of a dataset are not where they should be, or are damaged
├── Unreachable        a file is on no server that answers
├── BrokenDownload     a download ended early or came damaged; trying again may help
├── NoGradient         a model gives no usable gradient with respect to its input
├── GuardBroken        an attack left its ball or range, made NaN, or changed the model
└── NotFinite          a loss or an output is NaN or infinite
"""


class SnnlibError(Exception):
    """Base of everything snnlib raises on purpose."""


class DatasetMissing(SnnlibError):
    """Files of a dataset are absent or damaged; the message says which, and what brings them."""


class Unreachable(SnnlibError):
    """No server of a file answers, or none has it."""


class BrokenDownload(SnnlibError):
    """A download ended early or did not have its checksum; the next one goes on or starts anew."""


class NoGradient(SnnlibError):
    """The probe at wrapping time found no gradient from logits to input."""


class GuardBroken(SnnlibError):
    """An attack broke a rule of its threat model, so its result must not be recorded."""


class NotFinite(SnnlibError):
    """A loss, logit or image became NaN or infinite."""
