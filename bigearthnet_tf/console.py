"""What every command shares: start-up, progress bars, errors in one line."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from bigearthnet_tf import disk, files, signals

# Libraries of which errors alone are shown.
_TALKATIVE = (
    *("absl", "faiss", "matplotlib", "rasterio", "tensorflow"),
    *("httpx", "httpx2", "huggingface_hub"),
)
# Of whole numbers that have no bound of their own, what 32 bits hold.
MOST = 2**31 - 1
DONE, FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

# An option whose value is the command line of another program.
_OF_A_PROGRAM = re.compile(r"--from-[a-z]+")

logger = logging.getLogger("bigearthnet_tf")


class Interrupted(Exception):
    """A signal ended the work in good order.

    Args:
        number: of the signal; the exit status is 128 more, as shells have it.
        line: what was saved, and how to go on.
    """

    def __init__(self, number: int, line: str) -> None:
        super().__init__(line)
        self.status = 128 + number


class Parser(argparse.ArgumentParser):
    """An argument parser, like its subparsers, that takes no empty texts.

    An option that may be empty says so with `type=str`. One that is called
    `--from-PROGRAM` takes the arguments of that program as one text, which begins with
    dashes; argparse would take it for an option if it had no blank.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", None, word)

    def add_subparsers(self, **kwargs: Any) -> Any:
        """As in argparse; the arguments of a command are left to its parser."""
        action = super().add_subparsers(**kwargs)
        action.type = str
        return action

    # argparse declares it in several forms, for namespaces of other types.
    def parse_known_args(  # type: ignore[override]
        self,
        args: Iterable[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """As in argparse, with texts of `--from-PROGRAM` that are whole."""
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(_join_texts(words), namespace)

    def error(self, message: str) -> NoReturn:
        """Ends a wrong call with one line, which need not show all the options."""
        complain(f"{self.prog}: error: {message} ({self.prog} --help tells more)")
        sys.exit(WRONG_CALL)


def _join_texts(words: list[str]) -> list[str]:
    """Returns words of a command line with `--from-x TEXT` as `--from-x=TEXT`."""
    joined: list[str] = []
    for word in words:
        if joined and _OF_A_PROGRAM.fullmatch(joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def parser(description: str, **kwargs: Any) -> argparse.ArgumentParser:
    """Returns an argument parser with the options that all commands have.

    Args:
        description: one paragraph, shown by `--help`.
        **kwargs: passed on to `argparse.ArgumentParser`.
    """
    result = Parser(description=description, **kwargs)
    result.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    return result


def add_workers(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declares `--workers`, the number of processes, all cores by default."""
    parser.add_argument(
        "--workers",
        type=at_least_one,
        default=os.cpu_count(),
        metavar="N",
        help="processes at most (all cores)",
    )


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """Returns the type of an option that is a whole number, for argparse.

    Args:
        least: the smallest that is right.
        most: the largest.
    """

    def read(text: str) -> int:
        # Python converts no more than 4300 digits.
        if re.fullmatch(r"[+-]?\d{1,20}", text) and least <= int(text) <= most:
            return int(text)
        bounds = f"{least} or more" if most == MOST else f"{least} to {most}"
        raise _wrong(f"expected a whole number, {bounds}", text)

    return read


def number(
    least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf
) -> Callable[[str], float]:
    """Returns the type of an option that is a finite number, for argparse.

    Args:
        least: the smallest that is right.
        most: the largest.
        above: what it has to be larger than.
    """
    if above > -math.inf:
        bounds = f", above {above:g}"
    elif most < math.inf:
        bounds = f", {least:g} to {most:g}"
    else:
        bounds = f", {least:g} or more" if least > -math.inf else ""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and least <= value <= most and value > above:
            return value
        raise _wrong(f"expected a number{bounds}", text)

    return read


at_least_one = whole(1)
# Of NumPy's and TensorFlow's generators.
seed = whole(0, 2**31 - 1)


def word(text: str) -> str:
    """Returns a name or path that an option gives, for argparse; it has to be one."""
    if not text.strip() or "\0" in text:
        raise _wrong("expected a name or path", text)
    # Patterns of records and the like are paths, too.
    return files.expand(text) if text.startswith("~/") else text


def path(text: str) -> Path:
    """Returns a path that an option gives, for argparse.

    An empty one would be the working directory; a leading `~` is the home folder. One
    behind a scheme would become a folder of that name.
    """
    return Path(files.expand(_with_scheme(word(text), ())))


def place(text: str) -> str:
    """Returns a path that an option gives, local or behind `gs://`, for argparse."""
    return _with_scheme(word(text), disk.SCHEMES)


def _with_scheme(text: str, schemes: Sequence[str]) -> str:
    try:
        return disk.check_scheme(text, schemes)
    except ValueError as error:
        raise _wrong(str(error), text) from None


def _wrong(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{expected}, got {files.echo(text)}")


def load_tensorflow() -> None:
    """Imports TensorFlow with our settings and without its notices.

    oneDNN is off by default on processors with AVX2 only, where it makes
    convolutions about twice as fast. What the user has set already stays.
    While TensorFlow's libraries are loaded they print notices that no setting
    silences; so standard error is shut for that moment. What goes wrong meanwhile
    is raised, not printed. Signals end the process at once meanwhile.
    """
    with signals.starting():
        _import_tensorflow()


def _import_tensorflow() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever other programs run on
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _keep_freed_memory()
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a file
        os.dup2(nowhere.fileno(), 2)
    try:
        tensorflow = importlib.import_module("tensorflow")
        # The first look for GPUs is as talkative.
        tensorflow.config.list_physical_devices("GPU")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _keep_freed_memory() -> None:
    """Tells glibc to reuse the memory of batches instead of returning it.

    Without this a third of the input's processor time goes into page faults, since
    every batch is large enough to be mapped anew. Other C libraries are left alone.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 32 << 20)


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a command and ends the process with its status.

    0 when the work is done, 1 with one line on standard error when it failed, 2
    for a wrong call (by argparse), 130 when the user interrupted it, 143 when the
    system asked it to end. With `--debug`
    on the command line an error keeps its traceback.

    Args:
        main: the command; takes its arguments from `sys.argv`.
    """
    with signals.watching() as watch:
        sys.exit(_status_of(main, watch))


def _status_of(main: Callable[[], None], watch: signals.Watch | None) -> int:
    """Runs a command and returns its exit status."""
    logging.basicConfig(
        format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True
    )
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.ERROR)
    try:
        main()
    except Interrupted as interruption:
        complain(str(interruption))
        return interruption.status
    except KeyboardInterrupt:
        if watch and watch.first:
            return 128 + watch.first
        complain("interrupted; the same command continues where it can")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, a pager) has gone; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if watch and watch.has_raised and watch.first:
            # A library has made another exception of the interruption.
            return 128 + watch.first
        if "--debug" in sys.argv:
            raise
        complain(f"error: {describe(error)}")
        return FAILED
    return DONE


def describe(error: BaseException) -> str:
    """Returns an error as one line.

    Our own errors are complete sentences. A bare error of a library gets its type,
    so that `KeyError('x')` does not read as `'x'`, and a hint at `--debug`.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _short(f"{where}{' '.join(error.strerror.split())}")
    if isinstance(error, (ValueError, OSError)):
        return _short(text) or type(error).__name__
    return f"{type(error).__name__}: {text[:500]} (--debug shows the traceback)"


def _short(text: str) -> str:
    """Leaves out the middle of what nobody would read, such as an endless path."""
    return text if len(text) <= 1000 else f"{text[:500]} ... {text[-500:]}"


def complain(line: str) -> None:
    """Writes a line to standard error, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


COMPILING = "compiling the first step"


class _CompilingBar(tqdm):
    """A bar that shows from the start what takes so long before its first update."""

    def __init__(self, iterable: Iterable[Any] | None, **kwargs: Any) -> None:
        self._then = kwargs["desc"]
        shown = kwargs | {"desc": f"{self._then}, {COMPILING}", "delay": 0}
        super().__init__(iterable, **shown)

    def update(self, n: float | None = 1) -> bool | None:
        """Moves on; the first time the usual description comes back."""
        if self._then:
            self.set_description(self._then, refresh=False)
            self._then = ""
        return super().update(n)


def progress(
    iterable: Iterable[Any] | None = None, compiles: bool = False, **kwargs: Any
) -> tqdm[Any]:
    """Returns a progress bar with rate and time left.

    On a terminal it is redrawn often; into a file it writes now and then.

    Args:
        iterable: what is counted; None for a bar that is updated by hand.
        compiles: whether what is counted begins with compiling a step: the bar says so
            at once, or one line where there is no terminal.
        **kwargs: passed on to tqdm (`total`, `desc`, `unit`, `initial`, ...).
    """
    interactive = sys.stderr.isatty()
    if compiles and not interactive:
        logger.info("%s: %s", kwargs["desc"], COMPILING)
    if _quiet.is_set():
        kwargs["disable"] = True
    kwargs.setdefault("dynamic_ncols", interactive)
    kwargs.setdefault("mininterval", 0.2 if interactive else 30.0)
    kwargs.setdefault("smoothing", 0.1)
    if compiles and interactive:
        return _CompilingBar(iterable, **kwargs)
    # What fails at once shows its error and no bar.
    kwargs.setdefault("delay", 0.5)
    return tqdm(iterable, **kwargs)


_quiet = threading.Event()


def be_quiet() -> None:
    """Leaves the talking to another process: no progress bars, warnings alone."""
    _quiet.set()
    logging.getLogger().setLevel(logging.WARNING)


def say(bar: tqdm[Any], line: str) -> None:
    """Prints a line above a progress bar; a file gets the line and no bar."""
    if sys.stderr.isatty():
        bar.write(line)
    else:
        logger.info(line)
