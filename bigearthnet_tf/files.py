"""Files: written so that nobody ever sees half of one, and read with clear errors."""

from __future__ import annotations

import json
import os
import re
import reprlib
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from bigearthnet_tf import disk

_WILDCARD = re.compile(r"[][*?\\]")

Content = TypeVar("Content", bound=pydantic.BaseModel)

# Whole numbers of our own reach 80 bits: sums of squares over all pixels of a country.
_LARGEST = 2**127 - 1
_MOST_DIGITS = 40
# First bytes of zip, gzip, bzip2, xz, Zstandard, 7z and RAR; a tar has its mark later.
_PACKED = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ"),
    *(b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"),
)
_TAR_MARK = 257
_UNPACK = "got a packed file: unpack it"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_echo = reprlib.Repr()
_echo.maxstring = _echo.maxother = _echo.maxlong = 60


@contextmanager
def made_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Makes a folder with those above it, and removes those that stay empty.

    Args:
        folder: what is to be written into; those that were there before stay.

    Raises:
        OSError: it can't be made.
    """
    folder = Path(folder)
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        # One that holds something stays, and those above it.
        with suppress(OSError):
            for path in new:
                path.rmdir()


@contextmanager
def write_atomically(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    The temporary file carries the process id, so that two writers do not meet in
    it, and is removed when the body raises, as is a folder made for it.

    Args:
        path: the file to write; its folder is made if need be.

    Raises:
        OSError: the folder can't be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with made_folder(path.parent), disk.room_for(path):
        try:
            yield temporary
            temporary.replace(path)
        except OSError as error:
            if error.filename != str(temporary):
                raise
            # By the name that the user knows.
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            temporary.unlink(missing_ok=True)


def expand(path: str) -> str:
    """Returns a path whose leading `~` is the home folder.

    What is there under that very name is taken as it is.
    """
    if os.path.lexists(path):
        return path
    # Not by pathlib, which would fold the two slashes of gs:// into one.
    return os.path.expanduser(path)  # noqa: PTH111


@contextmanager
def plain_path(path: Path | str) -> Iterator[str]:
    """Yields a path to the same files that TensorFlow takes for no pattern.

    TensorFlow looks for the files of a checkpoint by wildcards, and so never sees those
    in a folder such as `runs [1]`. A path with such a character gets links beside the
    system's temporary files, which are gone at the end.

    Args:
        path: a file, a folder, or the prefix of a checkpoint's files.
    """
    path = Path(path)
    if not _WILDCARD.search(str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in path.absolute().parent.iterdir():
            if file.name.startswith(path.name):
                link = Path(folder, f"plain{file.name.removeprefix(path.name)}")
                link.symlink_to(file)
        yield str(Path(folder, "plain"))


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yields a folder beside a path, which is gone at the end with what it holds.

    Args:
        path: of what is made there and gets its name when it is whole.

    Raises:
        OSError: the folder can't be made, or the disk is full; names the path.
    """
    with (
        made_folder(path.parent),
        disk.room_for(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder,
    ):
        yield Path(folder)


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused."""
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """Returns the text that `write_json` writes."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_together(contents: Mapping[Path, bytes], stale: Iterable[Path] = ()) -> None:
    """Writes files, then removes the stale ones, then gives the new their names.

    All content is on the disk before the first file gets its name, so that a full disk
    leaves what was there. The last file of the mapping is the first to be named.

    Args:
        contents: of the files.
        stale: what is no longer to be there.

    Raises:
        OSError: a file can't be written.
    """
    with ExitStack() as stack:
        for path, data in contents.items():
            stack.enter_context(write_atomically(path)).write_bytes(data)
        for path in stale:
            path.unlink(missing_ok=True)


def echo(value: Any) -> str:
    """Returns a value as an error message shows it: at most some 100 characters."""
    try:
        text = _echo.repr(value)
    except ValueError:  # Python converts no whole number of more than 4300 digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def check_is_file(path: Path | str) -> None:
    """Refuses what can be opened, but is no file: folders, pipes, devices.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is something else; reading a pipe could wait for ever.
    """
    mode = Path(path).stat().st_mode
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise ValueError(f"{path}: expected a file, got {kind}; give a file")


def is_packed(path: Path | str) -> bool:
    """Tells whether a file is a zip, a tar, or compressed, by its first bytes."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return _begins_packed(file.read(_TAR_MARK + 5))


def _begins_packed(data: bytes) -> bool:
    return data.startswith(_PACKED) or data[_TAR_MARK : _TAR_MARK + 5] == b"ustar"


def check_unpacked(path: Path | str, expected: str) -> None:
    """Refuses a zip, a tar or the like in place of what should be in it.

    Raises:
        ValueError: it is packed; it need not be there.
    """
    if is_packed(path):
        raise ValueError(f"{path}: expected {expected}, {_UNPACK}")


def read_text(path: Path | str, expected: str = "text") -> str:
    """Reads a UTF-8 text file, without the byte order mark that it may begin with.

    Args:
        path: the file.
        expected: what it should hold, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no file, or not UTF-8; the message says where.
    """
    check_is_file(path)
    return decode(Path(path).read_bytes(), path, expected)


def decode(data: bytes, where: Path | str, expected: str) -> str:
    """Returns UTF-8 bytes as text, as `read_text` does."""
    if _begins_packed(data):
        raise ValueError(f"{where}: expected {expected}, {_UNPACK}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = "it is UTF-16" if data[:2] in _UTF16 else f"byte {error.start} is not"
        raise ValueError(
            f"{where}: expected {expected} in UTF-8, but {found}; save it as UTF-8"
        ) from error


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `parse_json`, or not UTF-8.
    """
    return parse_json(read_text(path, "JSON"), path)


def parse_json(text: str, where: Path | str) -> Any:
    """Returns what a JSON text stands for.

    Stricter than Python's reader, which lets the last of several equal keys win and
    takes NaN, infinity and whole numbers of any length, none of which JSON has a
    portable meaning for.

    Args:
        text: with or without a byte order mark.
        where: the file, for messages.

    Raises:
        ValueError: not JSON, equal keys, a number that is not finite or does not fit
            into 128 bits, or nested too deeply; the message names the first fault.
    """
    try:
        return _decoder.decode(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: expected JSON, but line {error.lineno} column {error.colno} "
            f"does not parse ({error.msg})"
        ) from error
    except RecursionError:
        raise ValueError(
            f"{where}: expected JSON, but lists or objects are nested too deeply"
        ) from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {echo(twice)} stands there twice: keep one of them")
    return found


def _whole(digits: str) -> int:
    if len(digits) <= _MOST_DIGITS and abs(number := int(digits)) <= _LARGEST:
        return number
    raise ValueError(f"expected whole numbers of 128 bits, got {digits[:24]}...")


def _finite(digits: str) -> float:
    number = float(digits)
    if abs(number) == float("inf"):
        raise ValueError(f"expected finite numbers, got {digits[:24]}")
    return number


def _no_number(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}; JSON has no such value")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_whole,
    parse_float=_finite,
    parse_constant=_no_number,
)


class _Loader(yaml.SafeLoader):
    """Plain values alone: no aliases, and no key twice.

    A few lines of aliases can stand for more than memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(
                f"the alias *{event.anchor}, {event.start_mark}: write the value out"
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {echo(key)} twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> Any:
    """Reads a YAML file of plain values.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML in UTF-8, an alias, a key that comes twice, or a value
            that is none, such as the 31st of February.
    """
    text = read_text(path, "YAML")
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ValueError(
            f"{path}: expected YAML, but lists or keys are nested too deeply"
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected YAML, got {reason}") from None


def read_checked(path: Path | str, form: type[Content]) -> Content:
    """Reads a JSON file whose keys have types.

    Args:
        path: the file.
        form: its keys.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or not of this form; the message names the first key that
            is missing or wrong.
    """
    content = read_json(path)
    try:
        return form.model_validate(content)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        reason = "is missing"
    elif fault["type"] == "model_type":
        reason = f"expected an object of keys and values, got {echo(fault['input'])}"
    else:
        expected = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        reason = f"{expected}, got {echo(fault['input'])}"
    raise ValueError(f"{path}: {key}{': ' if key else ''}{reason}")
