"""Event files as other programs leave them, by TensorBoard's own writer."""

from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write_events(
    folder: Path, scalars: Iterable[tuple[str, float, int]], suffix: str = ""
) -> Path:
    """Writes (tag, value, step) as torch's `SummaryWriter.add_scalar` does."""
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for tag, value, step in scalars:
        summary = summary_pb2.Summary()
        summary.value.add(tag=tag, simple_value=value)
        writer.add_event(event_pb2.Event(step=step, summary=summary))
    writer.close()
    (path,) = folder.glob(f"*tfevents*{suffix}")
    return path


def balanced_scalars(epochs: int = 5) -> list[tuple[str, float, int]]:
    """What balanced-bigearthnet logs: loss and accuracy, a step an epoch."""
    return [
        (tag, value, epoch)
        for epoch in range(epochs)
        for tag, value in (
            ("loss/train", 1 / (epoch + 1)),
            ("accuracy/train", 80.0 + epoch),
            ("loss/val", 1.2 / (epoch + 1)),
            ("accuracy/val", 78.0 + epoch),
        )
    ]
