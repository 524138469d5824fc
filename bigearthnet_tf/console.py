"""What every command shares: start-up, progress bars, errors in one line."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from tqdm import tqdm

# Libraries of which errors alone are shown.
_TALKATIVE = (
    *("absl", "faiss", "matplotlib", "rasterio", "tensorflow"),
    *("httpx", "httpx2", "huggingface_hub"),
)
DONE, FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

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


def parser(description: str, **kwargs: Any) -> argparse.ArgumentParser:
    """Returns an argument parser with the options that all commands have.

    Args:
        description: one paragraph, shown by `--help`.
        **kwargs: passed on to `argparse.ArgumentParser`.
    """
    result = argparse.ArgumentParser(description=description, **kwargs)
    result.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    return result


def config_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser of commands that take a config: its path and `--set`."""
    result = parser(description)
    result.add_argument("config", help="JSON file, such as configs/resnet50.json")
    result.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a key of the config; may be repeated",
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


def at_least_one(text: str) -> int:
    """Returns the number that an argument gives, for argparse; 0 is a wrong call."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return int(text)


def load_tensorflow() -> None:
    """Imports TensorFlow with our settings and without its notices.

    oneDNN is off by default on processors with AVX2 only, where it makes
    convolutions about twice as fast. What the user has set already stays.
    While TensorFlow's libraries are loaded they print notices that no setting
    silences; so standard error is shut for that moment. What goes wrong meanwhile
    is raised, not printed.
    """
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
    logging.basicConfig(
        format="%(message)s", level=logging.INFO, stream=sys.stdout, force=True
    )
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.ERROR)
    try:
        main()
    except Interrupted as interruption:
        complain(str(interruption))
        sys.exit(interruption.status)
    except KeyboardInterrupt:
        complain("interrupted; the same command continues where it can")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, a pager) has gone; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        complain(f"error: {describe(error)}")
        sys.exit(FAILED)
    sys.exit(DONE)


def describe(error: BaseException) -> str:
    """Returns an error as one line.

    Our own errors are complete sentences. A bare error of a library gets its type,
    so that `KeyError('x')` does not read as `'x'`, and a hint at `--debug`.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{' '.join(error.strerror.split())}"
    if isinstance(error, (ValueError, OSError)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text[:500]} (--debug shows the traceback)"


def complain(line: str) -> None:
    """Writes a line to standard error, at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def progress(iterable: Iterable[Any] | None = None, **kwargs: Any) -> tqdm[Any]:
    """Returns a progress bar with rate and time left.

    On a terminal it is redrawn often; into a file it writes now and then.

    Args:
        iterable: what is counted; None for a bar that is updated by hand.
        **kwargs: passed on to tqdm (`total`, `desc`, `unit`, `initial`, ...).
    """
    interactive = sys.stderr.isatty()
    if _quiet.is_set():
        kwargs["disable"] = True
    kwargs.setdefault("dynamic_ncols", interactive)
    kwargs.setdefault("mininterval", 0.2 if interactive else 30.0)
    kwargs.setdefault("smoothing", 0.1)
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


def repeat_arguments(arguments: argparse.Namespace) -> str:
    """Returns a config and its overrides as they stand on a command line."""
    overrides = [f"--set {shlex.quote(text)}" for text in arguments.set]
    return " ".join([shlex.quote(arguments.config), *overrides])
