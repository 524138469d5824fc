"""Energy and carbon dioxide of a training, estimated by codecarbon."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from bigearthnet_tf import extras, files
from bigearthnet_tf.config import Config

logger = logging.getLogger(__name__)

# Between looks at the power, as codecarbon does by itself; four make a minute.
_SECONDS = 15
_LOOKS_PER_ROW = 4


@contextmanager
def track(out_dir: Path, config: Config) -> Iterator[None]:
    """Estimates, while its body runs, what the whole machine uses.

    `emissions.csv` of the run has a row for each time that it was started or
    continued: seconds, kilowatt-hours, kilograms of carbon dioxide and what they were
    worked out from. The row is brought up to date once a minute, so that a killed
    process leaves one. Nothing is fetched: without a country, in
    `CODECARBON_COUNTRY_ISO_CODE` or a `.codecarbon.config`, codecarbon takes the mean
    of the world's power stations. What fails is said in a line, and the training goes
    on.

    Args:
        out_dir: folder of the run.
        config: of the run; nothing is done without `track_emissions`.

    Raises:
        ValueError: `track_emissions` without its package.
    """
    if not config.track_emissions:
        yield
        return
    codecarbon = extras.load("codecarbon", "emissions")
    table = _Table(out_dir / "emissions.csv")
    stop = _start(codecarbon, out_dir.name, table)
    try:
        yield
    finally:
        stop()
        _tell(table)


def _start(codecarbon: ModuleType, project: str, table: _Table) -> Callable[[], object]:
    """Starts the estimation and returns what ends it."""
    # It talks before it knows how loud it may be.
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    try:
        tracker = codecarbon.OfflineEmissionsTracker(
            project_name=project,
            measure_power_secs=_SECONDS,
            api_call_interval=_LOOKS_PER_ROW,
            output_methods=[],
            output_handlers=[table],
            log_level="critical",
        )
        tracker.start()
    except Exception as error:
        table.fault = error
        return lambda: None
    return tracker.stop


def _tell(table: _Table) -> None:
    """Says what was found, or why nothing was."""
    row = table.current
    if table.fault or not row:
        reason = table.fault or "codecarbon could not read what the hardware uses"
        logger.warning("%s: no or old emissions: %s", table.path, reason)
        return
    logger.info(
        "emissions %.3g kWh and %.3g kg of carbon dioxide in %.0f s, estimated (%s)",
        row["energy_consumed"],
        row["emissions"],
        row["duration"],
        table.path,
    )


class _Table:
    """Rows of earlier starts and that of this one, written to a file.

    It has the methods that codecarbon calls of an output, partly from threads of its
    own, where an error would go nowhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current: dict[str, Any] = {}
        self.fault: Exception | None = None
        self._earlier: list[dict[str, Any]] = []
        with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
            self._earlier = list(csv.DictReader(file))

    def out(self, total: Any, delta: Any) -> None:
        """Writes the row of this start anew."""
        self.current = dict(total.values)
        rows = [*self._earlier, self.current]
        # A newer version of codecarbon may have more columns.
        columns = list(dict.fromkeys(name for row in rows for name in row))
        try:
            with (
                files.write_atomically(self.path) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            self.fault = error
        else:
            self.fault = None

    live_out = out

    def task_out(self, data: Any, experiment_name: str) -> None:
        """Takes parts of a run, of which there are none."""

    def exit(self) -> None:
        """Takes the end; everything is written by then."""
