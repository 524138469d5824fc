"""JSON and YAML are read strictly, with errors that name the file and the fault."""

import json
import os

import pytest

from bigearthnet_tf import files


def test_values_are_those_of_json():
    value = {"a": [1, -2, 0.5, 1e-9, True, None, "ä"], "b": {"c": 2**127 - 1}}
    assert files.parse_json(json.dumps(value), "x") == value
    assert files.parse_json("\ufeff" + json.dumps(value), "x") == value
    assert files.parse_json(str(1 - 2**127), "x") == 1 - 2**127


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected JSON, but line 1 column 2"),
        ("", "expected JSON"),
        ('{"a": 1, "b": {"a": 1, "a": 2}}', "the key 'a' stands there twice"),
        ('{"a": NaN}', "got NaN"),
        ("[Infinity, 1]", "got Infinity"),
        ("-Infinity", "got -Infinity"),
        ("1e400", "finite numbers, got 1e400"),
        ("-1e400", "finite numbers"),
        (str(2**127), "128 bits"),
        (str(-(2**127)), "128 bits"),
        ("9" * 5000, "128 bits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_faults_of_json(text, says):
    with pytest.raises(ValueError, match=r"^here: ") as refusal:
        files.parse_json(text, "here")
    assert says in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_encodings(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa4"}')
    assert files.read_json(path) == {"a": "ä"}
    for data, says in (
        ('{"a": 1}'.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (b'{"a": "\xe4"}', "byte 7 is not"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=says):
            files.read_json(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name, kind in ((".", "a folder"), ("pipe", "a pipe"), ("link", "a device")):
        with pytest.raises(ValueError, match=f"expected a file, got {kind}"):
            files.read_text(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        files.read_text(tmp_path / "none")


@pytest.mark.parametrize(
    "make",
    [
        lambda: "x" * 10**6,
        lambda: [[[[[1] * 99] * 99]]],
        lambda: 10**4000,
        lambda: 10**5000,  # Python itself does not write it out
        lambda: {"a": "b" * 999},
    ],
)
def test_echoes_are_short(make):
    assert len(files.echo(make())) <= 100


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1\nb: *x\n", "alias .x"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "alias"),
        ("a: 1\na: 2\n", "'a' twice"),
        ("a: {b: 1, b: 2}\n", "'b' twice"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        (f"a: {'9' * 5000}", "YAML"),
        ("a: 2020-02-31", "YAML"),
        ("a: !!python/object:os.system {}", "YAML"),
        ("[a, b]: {c: 1}\n? {d: 1}\n: 2", "YAML"),
        ("a: \0", "YAML"),
    ],
)
def test_faults_of_yaml(tmp_path, text, says):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as refusal:
        files.read_yaml(path)
    assert len(str(refusal.value)) < 400 + len(str(path))


def test_values_of_yaml(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &unused [1, 2.5, yes, null, x]\n")
    assert files.read_yaml(path) == {"a": [1, 2.5, True, None, "x"]}
