"""Georeferenced maps that are written window by window, and go on after a kill.

What is finished lies in a hidden folder beside the map: the pixels as plain numbers in
a file that reads as it was written whatever happens, and a journal of the windows that
are in it for good. When all are there GDAL makes a Cloud-Optimised GeoTIFF of them
(OGC 21-026), under another name until it is whole.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import ArrayLike, NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from bigearthnet_tf import files, outputs
from bigearthnet_tf.archive import raster_header
from bigearthnet_tf.serving import raster_form
from bigearthnet_tf.serving.raster_form import RasterForm

logger = logging.getLogger(__name__)

KEY_TAG = "BIGEARTHNET_TF_KEY"
# So that memory does not grow with the map, nor with the machine (GDAL takes 5 % of
# it); a row of blocks of the widest map in use, 512 x 10980 float32, is 22 MB.
_CACHE_BYTES = 64 << 20
# How much may be lost in a power cut. A kill loses nothing that was written.
_SYNC_BYTES, _SYNC_SECONDS = 64 << 20, 5.0


def check_free(path: Path | str, inputs: Iterable[outputs.StrPath] = ()) -> None:
    """Checks that nothing but an earlier map is replaced.

    Args:
        path: where a map is to be written.
        inputs: what the same call reads.

    Raises:
        ValueError: no name of a GeoTIFF, or one of the inputs.
        OSError: something else lies there, or the folder can't be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{path}: expected a name that ends in .tif")
    outputs.check_file(path, is_map, inputs)


def is_map(path: Path) -> bool:
    """Recognises a finished map."""
    return _key_of(path) is not None


def is_finished(path: Path | str, key: str) -> bool:
    """Says whether a map is there and was made with the same key.

    Args:
        path: of the map.
        key: as for `ResumableRaster`.
    """
    return _key_of(path) == key


def _key_of(path: Path | str) -> str | None:
    """Returns the key of a finished map; None where there is none."""
    try:
        with raster_header.open_raster(Path(path)) as dataset:
            return dataset.tags().get(KEY_TAG)
    except (RasterioError, ValueError):
        return None


class ResumableRaster:
    """A map that is being written; a context manager.

    Several windows may be written in any order, each once; together they cover the
    map. Memory: one window, and a cache of 64 MB while `finish` is at work.

    Args:
        path: of the GeoTIFF; its folder is made if need be.
        form: what the map is.
        key: says what the pixels follow from: a hash of model, source and options.
            What an earlier process has written is kept if its key and form were the
            same, and thrown away otherwise.
        block_size: of the finished file, a multiple of 16; None: 512, or 256 where
            pixels have so many bands that a block of 512 would be over 4 MB.

    Raises:
        ValueError: a form that can't be written, no name of a GeoTIFF, or something
            else than a map lies there.
        OSError: another process writes this map, the folder can't be written to, or
            the disk has too little room.
    """

    def __init__(
        self,
        path: Path | str,
        form: RasterForm,
        key: str,
        block_size: int | None = None,
    ) -> None:
        if block_size is None:
            pixel_bytes = form.count * np.dtype(form.dtype).itemsize
            block_size = 512 if pixel_bytes <= 16 else 256
        raster_form.check(form, block_size)
        check_free(path)
        self.path, self.form, self.key = Path(path), form, key
        self._block_size = block_size
        self._folder = self.path.with_name(f".{self.path.name}.part")
        self._unsynced: list[tuple[int, ...]] = []
        self._unsynced_bytes, self._synced_at = 0, time.monotonic()
        self._done: set[tuple[int, ...]] = set()
        self._pixels = -1
        with ExitStack() as made, self._explained():
            made.enter_context(files.made_folder(self._folder))
            self._lock = acquire(self._folder / "lock", self.path)
            try:
                self._open()
            except BaseException:
                self._release()
                if not self._done:
                    shutil.rmtree(self._folder, ignore_errors=True)
                raise
            self._made = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def num_done(self) -> int:
        """Number of windows that are written, by this process or an earlier one."""
        return len(self._done) + len(self._unsynced)

    def is_done(self, window: Window) -> bool:
        """Says whether exactly this window is written."""
        place = _place(window)
        return place in self._done or place in self._unsynced

    def write(self, window: Window, array: ArrayLike) -> None:
        """Writes a window.

        Args:
            window: whole pixels of the map.
            array: (bands, rows, columns) of the dtype of the map.

        Raises:
            ValueError: another shape or dtype, or a window that reaches out of the map.
            OSError: the disk is full.
        """
        row, column, height, width = place = _place(window)
        form, pixels = self.form, np.ascontiguousarray(array)
        if pixels.shape != (form.count, height, width) or pixels.dtype != form.dtype:
            raise ValueError(
                f"{self.path}: expected {form.dtype} of shape "
                f"{(form.count, height, width)} for a window, got {pixels.dtype} of "
                f"shape {pixels.shape}"
            )
        inside = row + height <= form.height and column + width <= form.width
        if min(place) < 0 or not inside:
            raise ValueError(
                f"{self.path}: a window of rows {row} to {row + height}, columns "
                f"{column} to {column + width} reaches out of a map of {form.height} x "
                f"{form.width}"
            )
        with self._explained():
            for offset, values in self._runs(place, pixels):
                _write_all(self._pixels, values, offset)
            self._unsynced.append(place)
            self._unsynced_bytes += pixels.nbytes
            waited = time.monotonic() - self._synced_at
            if self._unsynced_bytes >= _SYNC_BYTES or waited >= _SYNC_SECONDS:
                self._sync()

    def finish(self) -> None:
        """Makes the map of what is written, and clears up.

        Raises:
            ValueError: some of the map was never written.
            OSError: the disk is full; what is written stays for the next call.
        """
        with self._explained():
            self._sync()
        written = sum(height * width for _, _, height, width in self._done)
        expected = self.form.width * self.form.height
        if written != expected:
            raise ValueError(
                f"{self.path}: expected windows that cover the map once, {expected} "
                f"pixels, got {written}"
            )
        with self._explained():
            made = self._optimise()
            made.replace(self.path)
        self.discard()

    def discard(self) -> None:
        """Throws away what is written."""
        os.close(self._pixels)
        self._pixels = -1
        self._release()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._made.close()

    def close(self) -> None:
        """Keeps what is written for the next call, unless it is finished."""
        if self._pixels < 0:
            return
        if not self.num_done:
            self.discard()
            return
        try:
            with self._explained():
                self._sync()
        finally:
            os.close(self._pixels)
            self._pixels = -1
            self._release()

    def _open(self) -> None:
        """Takes up what an earlier process has written, and opens the pixels."""
        self._done = self._reopen()
        self._check_room()
        flags = os.O_RDWR | os.O_CREAT
        self._pixels = os.open(self._folder / "pixels", flags, 0o644)
        os.ftruncate(self._pixels, self.form.num_bytes)

    def _reopen(self) -> set[tuple[int, ...]]:
        """Returns the windows of an earlier process; begins anew if they won't do."""
        journal = self._folder / "journal"
        head = json.dumps([self.key, raster_form.describe(self.form)])
        lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
        pixels = self._folder / "pixels"
        size = pixels.stat().st_size if pixels.exists() else 0
        if lines[:1] == [head] and size == self.form.num_bytes:
            # A line that a kill cut short is not the whole of its four numbers and
            # the full stop.
            whole = [line.split() for line in lines[1:] if line.endswith(".")]
            done = {tuple(map(int, words[:4])) for words in whole if len(words) == 5}
            files.write_text(journal, head + "\n" + "".join(map(_line, done)))
            return done
        if len(lines) > 1:
            logger.info("%s: what was begun is of something else, anew", self.path)
        pixels.unlink(missing_ok=True)
        files.write_text(journal, head + "\n")
        return set()

    def _check_room(self) -> None:
        pixels = self._folder / "pixels"
        there = pixels.stat().st_blocks * 512 if pixels.exists() else 0
        # The finished file lies beside the pixels for a moment. It is compressed, and
        # has overviews of a third: at worst about as large.
        needed = 2 * self.form.num_bytes - there
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OSError(
                f"{self.path}: the map needs {_size(needed)} while it is written, but "
                f"the disk has {_size(free)} free: make room, or write it elsewhere"
            )

    def _runs(
        self, place: tuple[int, ...], pixels: NDArray[Any]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yields what lies together in the file, with its offset in bytes."""
        row, column, height, width = place
        form, item = self.form, pixels.itemsize
        together = height if width == form.width else 1
        for band in range(form.count):
            for first in range(0, height, together):
                start = (band * form.height + row + first) * form.width + column
                part = pixels[band, first : first + together]
                yield start * item, part.data.cast("B")

    def _sync(self) -> None:
        """Has the system keep the windows, then says in the journal that it does."""
        if self._unsynced:
            os.fsync(self._pixels)
            with (self._folder / "journal").open("a", encoding="utf-8") as journal:
                journal.write("".join(map(_line, self._unsynced)))
                journal.flush()
                os.fsync(journal.fileno())
        self._done.update(self._unsynced)
        self._unsynced, self._unsynced_bytes = [], 0
        self._synced_at = time.monotonic()

    def _optimise(self) -> Path:
        """Returns the pixels as a Cloud-Optimised GeoTIFF, in the hidden folder."""
        source, made = self._folder / "pixels.vrt", self._folder / "map.tif"
        tags = {**self.form.tags, KEY_TAG: self.key}
        vrt = raster_form.to_vrt(self.form, tags, "pixels")
        source.write_text(vrt, encoding="utf-8")
        kind = "NEAREST" if self.form.is_categorical else "AVERAGE"
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            rasterio.shutil.copy(
                source,
                made,
                driver="COG",
                COMPRESS="DEFLATE",
                PREDICTOR="NO" if self.form.is_categorical else "YES",
                BLOCKSIZE=self._block_size,
                OVERVIEW_RESAMPLING=kind,
                BIGTIFF="IF_SAFER",
                NUM_THREADS=2,
            )
        return made

    def _release(self) -> None:
        # In this order nobody can take the lock of a file that is about to vanish.
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns a full disk into one line."""
        try:
            yield
        except (OSError, RasterioError) as error:
            free = shutil.disk_usage(self.path.parent).free
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            if full or (isinstance(error, RasterioError) and free < (1 << 20)):
                raise OSError(
                    f"{self.path}: the disk is full ({_size(free)} free): make room "
                    "and call again, what is written stays"
                ) from error
            raise


def acquire(lock: Path, path: Path) -> filelock.BaseFileLock:
    """Takes the lock of what one process alone may write; a kill lets go of it.

    Args:
        lock: its file.
        path: what is written, for the message.

    Raises:
        OSError: another process has it.
    """
    held = filelock.FileLock(lock, timeout=0)
    try:
        held.acquire()
    except filelock.Timeout:
        raise OSError(
            f"{path}: another process is writing it; wait for it, or choose another "
            "name"
        ) from None
    return held


def _place(window: Window) -> tuple[int, ...]:
    values = (window.row_off, window.col_off, window.height, window.width)
    if any(value != int(value) for value in values):
        raise ValueError(f"expected a window of whole pixels, got {window}")
    return tuple(map(int, values))


def _line(place: tuple[int, ...]) -> str:
    return f"{' '.join(map(str, place))} .\n"


def _write_all(file: int, values: memoryview, offset: int) -> None:
    """Writes at an offset; the system may take a part at a time."""
    while values:
        written = os.pwrite(file, values, offset)
        values, offset = values[written:], offset + written


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes} bytes"
