"""What `bigearthnet_tf` is measured against, rewritten from descriptions.

* The TensorFlow project of TU Berlin: rasterio for each band, one int64 a pixel in one
  TFRecord file; parsed record by record, standardised and resampled on the host.
* reBEN's data in the form of rico-hdl, safetensors in LMDB, read by two processes: as
  its own loader does, patch by patch through PyTorch's `DataLoader`; and as fast as we
  could make it, whole batches decoded into shared memory.

Where a choice was open, the baseline got the faster one. TensorFlow is imported where
it is used: the processes of the LMDB loader do without.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import numpy as np
import rasterio
import safetensors.numpy
from numpy.typing import NDArray

from bigearthnet_tf.archive import bands, labels, statistics
from bigearthnet_tf.archive.patch import PatchEntry

if TYPE_CHECKING:
    import tensorflow as tf

IMAGE_PIXELS = 120


def read_band(path: Path) -> NDArray[Any]:
    """Returns the image of a TIFF by rasterio."""
    with rasterio.open(path) as file:
        return file.read(1)


def write_records(
    patches: Sequence[tuple[PatchEntry, Mapping[str, Path]]], out: Path
) -> None:
    """Writes patches as lists of int64 (radar: float32) into one TFRecord file.

    Args:
        patches: each with the files of its bands.
        out: the TFRecord file.
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(out)) as writer:
        for entry, paths in patches:
            features = {name: _pixels(read_band(path)) for name, path in paths.items()}
            own = entry.labels or ()
            vector = labels.to_multi_hot(own, labels.BIGEARTHNET_19)
            texts = {
                "BigEarthNet-19_labels": own,
                "patch_name_s2": (entry.name,),
                "patch_name_s1": (str(entry.name_s1),),
            }
            for name, values in texts.items():
                encoded = tf.train.BytesList(value=[text.encode() for text in values])
                features[name] = tf.train.Feature(bytes_list=encoded)
            features["BigEarthNet-19_labels_multi_hot"] = _pixels(vector)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def _pixels(array: NDArray[Any]) -> tf.train.Feature:
    import tensorflow as tf

    flat = np.ravel(array)
    if array.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=flat))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=flat))


def int64_batches(
    file: Path, names: Sequence[str], batch_size: int
) -> Iterator[tuple[tf.Tensor, NDArray[Any]]]:
    """Yields batches for ever, in the order of operations of the TensorFlow project.

    Every band of a record is parsed, one record after the other in ten calls at a
    time; then come batch and prefetch; the bands in use are standardised in NumPy's
    float64, and TensorFlow 1's bicubic kernel resizes them on the host.

    Args:
        file: from `write_records`.
        names: the bands, of one sensor or both.
        batch_size: patches a batch.

    Yields:
        (batch, 120, 120, bands) float32 and the multi-hot labels.
    """
    import tensorflow as tf

    facts = statistics.band_statistics("v1")
    sensors = {bands.BANDS[name].sensor for name in names}
    features: dict[str, Any] = {
        name: tf.io.FixedLenFeature(
            (band.pixels, band.pixels), tf.float32 if band.sensor == "S1" else tf.int64
        )
        for name, band in bands.BANDS.items()
        if band.sensor in sensors
    }
    features["BigEarthNet-19_labels_multi_hot"] = tf.io.FixedLenFeature(19, tf.int64)
    dataset = tf.data.TFRecordDataset(str(file)).shuffle(1000).repeat()
    dataset = dataset.map(
        lambda record: tf.io.parse_single_example(record, features),
        num_parallel_calls=10,
    )
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    for batch in dataset.batch(batch_size).prefetch(10).as_numpy_iterator():
        planes = []
        for name in names:
            standard = (batch[name] - np.float64(facts.mean[name])) / facts.std[name]
            plane = tf.constant(standard.astype(np.float32)[..., np.newaxis])
            if bands.BANDS[name].pixels != IMAGE_PIXELS:
                plane = tf.raw_ops.ResizeBicubic(images=plane, size=size)
            planes.append(plane)
        yield tf.concat(planes, axis=-1), batch["BigEarthNet-19_labels_multi_hot"]


# Puts the bands of a patch into a row of a batch.
_Fill = Callable[[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]], int], None]


@dataclass(frozen=True)
class _Layout:
    """Where the arrays of a batch lie in shared memory.

    Attributes:
        batch_size: patches a batch.
        names: the bands, in the order of the float32 batch.
        as_float: one float32 array (batch, 120, 120, bands) instead of band groups.
    """

    batch_size: int
    names: tuple[str, ...]
    as_float: bool

    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Returns shape and dtype of each array."""
        count, side = self.batch_size, IMAGE_PIXELS
        single = np.dtype("float32")
        found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            "labels": ((count, len(labels.LABELS[labels.BIGEARTHNET_19])), single)
        }
        if self.as_float:
            found["images"] = ((count, side, side, len(self.names)), single)
            return found
        for group, members in bands.group_bands(self.names).items():
            band = bands.BANDS[members[0]]
            shape = (count, len(members), band.pixels, band.pixels)
            found[group] = (shape, np.dtype(band.dtype))
        return found

    @property
    def num_bytes(self) -> int:
        """Bytes of a batch."""
        return sum(
            int(np.prod(shape)) * dtype.itemsize
            for shape, dtype in self.arrays().values()
        )

    def views(
        self, memory: shared_memory.SharedMemory, slot: int
    ) -> dict[str, NDArray[Any]]:
        """Returns the arrays of the batch in a slot of the memory."""
        offset, found = slot * self.num_bytes, {}
        for name, (shape, dtype) in self.arrays().items():
            found[name] = np.ndarray(shape, dtype, memory.buf, offset)
            offset += found[name].nbytes
        return found


class LmdbLoader:
    """Batches of patches in random order, decoded by worker processes.

    A worker decodes a whole batch straight into shared memory, so that no pixel passes
    a pipe. There are two batches a worker in flight, as in torch's `DataLoader`.

    Args:
        path: folder of the LMDB, of both sensors.
        entries: the patches.
        names: the bands.
        batch_size: patches a batch.
        as_float: deliver (batch, 120, 120, bands) float32, resampled by repetition and
            standardised, instead of band groups as stored.
        workers: processes.
    """

    def __init__(
        self,
        path: Path,
        entries: Sequence[PatchEntry],
        names: Sequence[str],
        batch_size: int,
        *,
        as_float: bool = False,
        workers: int = 2,
    ) -> None:
        self._layout = _Layout(batch_size, tuple(names), as_float)
        self._slots = 2 * workers
        self._memory = shared_memory.SharedMemory(
            create=True, size=self._slots * self._layout.num_bytes
        )
        keys = [(e.name.encode(), str(e.name_s1).encode()) for e in entries]
        vectors = np.stack(
            [
                labels.to_multi_hot(e.labels or (), labels.BIGEARTHNET_19)
                for e in entries
            ]
        )
        self._order = _endless_order(len(keys), batch_size)
        context = multiprocessing.get_context("spawn")
        self._tasks, self._done = context.SimpleQueue(), context.SimpleQueue()
        contents, queues = (path, keys, vectors), (self._tasks, self._done)
        arguments = (*contents, self._layout, self._memory.name, *queues)
        self._workers = [
            context.Process(target=_work, args=arguments, daemon=True)
            for _ in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def __enter__(self) -> LmdbLoader:
        return self

    def __exit__(self, *_exception: object) -> None:
        for _ in self._workers:
            self._tasks.put(None)
        for worker in self._workers:
            worker.join()
        self._memory.close()
        self._memory.unlink()

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields batches for ever; each is valid until the next one is asked for."""
        for slot in range(self._slots):
            self._tasks.put((slot, next(self._order)))
        in_flight = self._slots
        try:
            while True:
                slot = self._done.get()
                in_flight -= 1
                yield self._layout.views(self._memory, slot)
                self._tasks.put((slot, next(self._order)))
                in_flight += 1
        finally:
            for _ in range(in_flight):
                self._done.get()


def _endless_order(count: int, batch_size: int) -> Iterator[list[int]]:
    """Yields the patches of one batch after the other, shuffled anew every epoch."""
    draw = random.Random(0)
    left: list[int] = []
    while True:
        while len(left) < batch_size:
            left += draw.sample(range(count), count)
        yield left[:batch_size]
        left = left[batch_size:]


def _work(
    path: Path,
    keys: Sequence[tuple[bytes, bytes]],
    vectors: NDArray[Any],
    layout: _Layout,
    memory_name: str,
    tasks: Any,
    done: Any,
) -> None:
    """Decodes batches until told to stop; opened as ConfigILM opens an LMDB."""
    memory = shared_memory.SharedMemory(memory_name)
    environment = lmdb.open(
        str(path), readonly=True, lock=False, meminit=False, readahead=True
    )
    sensors = {bands.BANDS[name].sensor for name in layout.names}
    columns = [i for i, sensor in enumerate(("S2", "S1")) if sensor in sensors]
    fill = _filler(layout)
    while (task := tasks.get()) is not None:
        slot, indices = task
        views = layout.views(memory, slot)
        views["labels"][:] = vectors[indices]
        with environment.begin() as transaction:
            for row, index in enumerate(indices):
                rasters: dict[str, NDArray[Any]] = {}
                for column in columns:
                    value = transaction.get(keys[index][column], b"")
                    rasters |= safetensors.numpy.load(value)
                fill(rasters, views, row)
        done.put(slot)


def _filler(layout: _Layout) -> _Fill:
    """Returns what puts a patch into a row of a batch."""
    if not layout.as_float:
        groups = bands.group_bands(layout.names)
        return partial(_fill_groups, groups)
    facts = statistics.band_statistics("v2_120_nearest")
    scales = {
        name: (np.float32(facts.mean[name]), np.float32(1 / facts.std[name]))
        for name in layout.names
    }
    return partial(_fill_images, scales)


def _fill_groups(
    groups: Mapping[str, Sequence[str]],
    rasters: Mapping[str, NDArray[Any]],
    views: Mapping[str, NDArray[Any]],
    row: int,
) -> None:
    for group, members in groups.items():
        for plane, name in enumerate(members):
            views[group][row, plane] = rasters[name]


def _fill_images(
    scales: Mapping[str, tuple[np.float32, np.float32]],
    rasters: Mapping[str, NDArray[Any]],
    views: Mapping[str, NDArray[Any]],
    row: int,
) -> None:
    for channel, (name, (mean, factor)) in enumerate(scales.items()):
        plane = (rasters[name] - mean) * factor
        times = IMAGE_PIXELS // len(plane)
        if times > 1:
            plane = plane.repeat(times, axis=1).repeat(times, axis=0)
        views["images"][row, :, :, channel] = plane


class RebenPatches:
    """A map-style data set for PyTorch: one patch after the other, as reBEN's loader.

    Each band is resampled to 120 pixels by torch's nearest and standardised when its
    patch is read.

    Args:
        path: folder of the LMDB, of both sensors.
        entries: the patches.
        names: the bands in the order of the result.
    """

    def __init__(
        self, path: Path, entries: Sequence[PatchEntry], names: Sequence[str]
    ) -> None:
        facts = statistics.band_statistics("v2_120_nearest")
        self.path, self.names = path, list(names)
        self.keys = [(entry.name, str(entry.name_s1)) for entry in entries]
        self.sensors = {bands.BANDS[name].sensor for name in names}
        self.mean = np.float32([facts.mean[name] for name in names])[:, None, None]
        self.std = np.float32([facts.std[name] for name in names])[:, None, None]
        self._environment: Any = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        import torch

        if self._environment is None:
            self._environment = lmdb.open(
                str(self.path), readonly=True, lock=False, meminit=False
            )
        found: dict[str, NDArray[Any]] = {}
        with self._environment.begin() as transaction:
            for sensor, key in zip(("S2", "S1"), self.keys[index], strict=True):
                if sensor in self.sensors:
                    found |= safetensors.numpy.load(transaction.get(key.encode()))
        planes = [
            torch.nn.functional.interpolate(
                torch.from_numpy(found[name].astype(np.float32))[None, None],
                (IMAGE_PIXELS, IMAGE_PIXELS),
            )[0, 0]
            for name in self.names
        ]
        return (torch.stack(planes) - self.mean) / self.std


def reben_batches(
    path: Path, entries: Sequence[PatchEntry], names: Sequence[str], batch_size: int
) -> Iterator[Any]:
    """Yields batches (batch, bands, 120, 120) float32 for ever, by two workers."""
    from torch.utils.data import DataLoader

    patches = RebenPatches(path, entries, names)
    loader: Any = DataLoader(
        patches, batch_size, shuffle=True, num_workers=2, persistent_workers=True
    )
    while True:
        yield from loader
