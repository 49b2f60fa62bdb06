"""Names and shapes of a safetensors file, read from its header without torch."""

import json
from pathlib import Path

MAX_HEADER = 100_000_000


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file.

    The format: 8 bytes of little-endian header length, then JSON of that length.

    Raises:
        ValueError: with the reason in words, if the file is absent or of another format.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER:
                raise ValueError(f"{path} is no safetensors file")
            header = json.loads(file.read(length))
        return {
            name: tuple(int(size) for size in about["shape"])
            for name, about in header.items()
            if name != "__metadata__"
        }
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; paths start where you are") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({(error.strerror or '').lower()})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise ValueError(f"{path} is no safetensors file") from None
