"""Paths behind `s3://`, `gs://` and the like, where they can be or not."""

from doors.case import Case

LOCAL = "expected a local path (?!or)"
RECORDS = "expected a local path or gs:// "
KIND = "a path behind a scheme"

# Wrong calls, seen before anything is read.
OPTIONS = [
    Case(KIND, f"{door} {' '.join(words)}", door,
         lambda kit, here, words=words: [*words],
         says=[says, "mount", "got '(s3|gs|https|file|hdfs)://"], status=2)
    for says, door, words in (
        (RECORDS, "prep_splits", ["-r", "x", "-n", "x", "-o", "s3://b/out"]),
        (LOCAL, "prep_splits", ["-r", "gs://b/x", "-n", "x", "-o", "out"]),
        (RECORDS, "tiles", ["x", "-o", "https://b/out"]),
        (RECORDS, "convert", ["x", "-o", "hdfs://b/out"]),
        (LOCAL, "sample", ["--patches", "3", "--out", "gs://b/out"]),
        (LOCAL, "split", ["--table", "x", "-o", "s3://b/o", "--folds", "2"]),
        (LOCAL, "statistics", ["x", "-o", "gs://b/own.json"]),
        (LOCAL, "inspect", ["x", "--sheet", "gs://b/s.png"]),
        (LOCAL, "predict", ["r", "s", "-o", "s3://b/o.csv"]),
        (LOCAL, "map", ["r", "s3://b/scene", "-o", "m.tif"]),
        (LOCAL, "export", ["r", "-o", "file:///b/m.onnx"]),
    )
]  # fmt: skip


def _config(**keys):
    def call(kit, here):
        kit.write_config(here, **keys)
        return ["config.json"]

    return call


CASES = [
    *OPTIONS,
    Case(KIND, "a run", "train", _config(out_dir="gs://b/run"),
         says=["config.json: out_dir: expected a local path .* got 'gs://b/run'"]),
    Case(KIND, "a run", "eval", _config(out_dir="s3://b/run"),
         says=["config.json: out_dir: expected a local path .* got 's3://b/run'"]),
    Case(KIND, "records of s3", "train", _config(tr_tf_record_files=["s3://b/*"]),
         says=["tr_tf_record_files: .*local path or gs://", "got 's3://b/\\*'"]),
    *(Case(KIND, "records of s3", door, lambda kit, here, words=words: [*words],
           says=["s3://b/x: expected a local path or gs:// .*mount"])
      for door, words in (
          ("convert", ["s3://b/x", "-o", "out"]),
          ("inspect", ["s3://b/x"]),
          ("statistics", ["s3://b/x", "-o", "own.json"]),
      )),
]  # fmt: skip
