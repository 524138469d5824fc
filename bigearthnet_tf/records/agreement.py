"""Whether the first record of a shard is what its manifest speaks of."""

from __future__ import annotations

from bigearthnet_tf.archive import pairs
from bigearthnet_tf.records import manifest, schema


def check_first(
    first: bytes,
    form: schema.RecordForm,
    facts: manifest.Manifest | None,
    path: str,
) -> str:
    """Compares the first record of a shard with its manifest.

    Args:
        first: the record.
        form: how it is laid out.
        facts: the manifest; None without one.
        path: of the shard, for the message.

    Returns:
        The archive version: that of the manifest, else that of the patch's name, else
        that of the older projects.

    Raises:
        ValueError: it is laid out in another way than the manifest says, is of another
            archive version, or its names are no pair.
    """
    where = f"{path}: record 0"
    name, name_s1 = schema.names_of(first, form)
    pairs.check(name, name_s1, where)
    if facts is None:
        return manifest.version_of(name) or "v1"
    orders = {"original": "O43", "BigEarthNet-19": "O19"}
    if (
        facts.record_format != form.encoding
        or set(facts.bands) != set(form.bands)
        or {orders[kind] for kind in facts.label_order}
        != {order for _, order in form.label_features}
        or facts.reference_maps != form.has_map
    ):
        raise ValueError(
            f"{path}: holds {schema.describe(form)}, but its manifest speaks of "
            "something else; copy both again, or prepare the records again"
        )
    manifest.check_name(facts, name, where)
    return facts.archive_version
