"""Settings of Keras that other programs may have left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"image_data_format": "channels_first"},
            "expected image_data_format 'channels_last', got 'channels_first'",
        ),
        ({"floatx": "float16"}, "expected floatx 'float32', got 'float16'"),
        ({"backend": "jax"}, ""),
    ],
)
def test_settings_are_heeded_or_refused(tmp_path, settings, message):
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "bigearthnet_tf.cli", "models"],
        env={
            **{k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"},
            "KERAS_HOME": str(tmp_path),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if message else 0), done.stderr
    assert done.stderr.count("\n") == bool(message)
    assert message in done.stderr
