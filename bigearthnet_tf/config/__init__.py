"""The configuration of a run: typed fields, strict loading, JSON schema.

A config is flat JSON with the keys of the TU Berlin BigEarthNet TensorFlow models
and new ones in the same manner. `base.json` beside the file is read first and the
file overrides it key by key.
"""

from bigearthnet_tf.config.command_line import add_arguments, repeat_arguments
from bigearthnet_tf.config.keys import Config
from bigearthnet_tf.config.loading import (
    from_dict,
    json_schema,
    load,
    markdown_table,
    save,
)

__all__ = [
    "Config",
    "add_arguments",
    "from_dict",
    "json_schema",
    "load",
    "markdown_table",
    "repeat_arguments",
    "save",
]
