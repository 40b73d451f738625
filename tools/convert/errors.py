"""The one exception the converter reports to its user."""


class ConvertError(Exception):
    """Something about an input or the output is wrong; the message says which file and what."""


MESSAGE_MAX = 1000  # names come from the file and may be of any length


def fail(path, message):
    raise ConvertError(f"{path}: {message[:MESSAGE_MAX]}")
