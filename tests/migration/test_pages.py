"""The tables of the migration pages name what there is here, and all that was there."""

import argparse
import importlib
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from bigearthnet_tf import cli
from bigearthnet_tf import config as configs
from bigearthnet_tf.config.projects import cbir

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path for path in sorted((ROOT / "docs" / "migration").glob("*.md"))}
HEADER = ["theirs", "here", "what differs"]
SPAN = re.compile(r"`([^`]+)`")
# Flags, keys and files of each project, from its own documentation and code.
THEIRS = {
    "tf_project": """
        -r -o -n -l --update_json model_name modality label_type batch_size nb_epoch
        learning_rate save_checkpoint_after_iteration save_checkpoint_per_iteration
        tr_tf_record_files val_tf_record_files test_tf_record_files fine_tune
        model_file shuffle_buffer_size training_size test_size out_dir
        configs/base.json
        train.py eval.py prep_splits.py label_indices.json eval_result.json
        OUT_DIR/models/iteration-N OUT_DIR/logs/training OUT_DIR/logs/test DNN_model
    """,
    "balanced_bigearthnet": """
        --sets --model --epochs --batch --lr --seed --optim --loss --finetune --rgb
        --verbose --storage_path --count -d -k -o -r -tf sets.json fold_0.csv
        STORAGE/output/scores.csv STORAGE/codecarbon/emissions.csv read_event.py
        stratified_split.py prep_splits.py
        train.py loss/train accuracy/train loss/val accuracy/val
    """,
    "reben": """
        --architecture --seed --lr --epochs --workers --bs --drop-rate
        --drop-path-rate --warmup --bandconfig --use-wandb --upload-to-hub --test-run
        --hf-entity --linear-probe --head-type --head-mlp-dims --head-dropout
        --resume-from --config-path --run-name --devices --strategy
        --dinov3-model-name images_lmdb metadata_parquet metadata_snow_cloud_parquet
        split_csv s1_mapping_csv labels_csv train_BigEarthNetv2_0.py
    """,
    "cbir": """
        batch_size start_epoch epochs pretrain type train_csv val_csv test_csv loss_func
        fusion bigEarthPthLMDB_S2 bigEarthPthLMDB_S1 num_cpu name n_features
        projection_dim out_channels optimizer learning_rate weight_decay scheduler
        temperature logging_params.save_dir logging_params.name state_dict
        scheduler_gamma epoch_num reload
        summaries suffix --filepath --loss_func train.py retrieval.py
        multi_train_retrieval.py parameters.yaml query.h5 archive.h5 retrieval.h5
        checkpoints_model_best.pth.tar
    """,
    "btfm": """
        bands.npy masks.npy doys.npy band_mean.npy band_std.npy labels.npy min_valid
        sample_size representation_map.npy read_inference_map infer.py
    """,
}


def tables(path):
    """The rows of the tables with our header, as lists of three cells."""
    rows, inside = [], False
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells == HEADER:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set("".join(cells)) <= set("-: "):
            rows.append(cells)
    return rows


ROWS = [(name, row) for name, path in PAGES.items() for row in tables(path)]


class Found(Exception):
    """Stops a program as soon as its parser is known."""


@cache
def parser_of(program):
    """The argument parser of a script, or of a command of `bigearthnet-tf`."""

    def stop(parser, *_, **__):
        raise Found(parser)

    patch = pytest.MonkeyPatch()
    for name in ("parse_args", "parse_known_args"):
        patch.setattr(argparse.ArgumentParser, name, stop)
    words = program.split()
    patch.setattr(sys, "argv", words)
    try:
        if words[0] == "bigearthnet-tf":
            cli.run()
        spec = importlib.util.spec_from_file_location("script", ROOT / words[0])
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        script.main()
    except Found as found:
        parser = found.args[0]
    finally:
        patch.undo()
    for word in words[1:]:
        commands = [
            action.choices
            for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
        ]
        if not commands:
            break
        assert word in commands[0], f"no command {word}"
        parser = commands[0][word]
    return parser


def check_command(span):
    words = shlex.split(span.split(" | ")[0])
    if words[0] == "python":
        words = words[1:]
    # `bigearthnet-tf` has commands, of which one has commands too.
    program = " ".join(words[:3] if words[0] == "bigearthnet-tf" else words[:1])
    parser = parser_of(program)
    known = {flag for action in parser._actions for flag in action.option_strings}
    for number, word in enumerate(words):
        if re.fullmatch(r"--?[a-zA-Z][^ ]*", word):
            assert word.split("=")[0] in known, f"{program} has no {word}"
        if words[number - 1] == "--set" and "=" in word and word != "KEY=VALUE":
            key = word.split("=")[0]
            # Of files of the CBIR project their keys can be set as well.
            assert key in {*configs.Config.model_fields, *cbir._KNOWN}, word


@cache
def source():
    """All of the code and the shipped configs, as one text."""
    files = [*ROOT.glob("*.py"), *(ROOT / "bigearthnet_tf").rglob("*.py")]
    files += (ROOT / "configs").rglob("*.json")
    return "\n".join(path.read_text() for path in files)


def check_name(span):
    """A name that occurs in the code; capitals and numbers are placeholders."""
    parts = re.split(r"[*<>/]|[-_]\d+|\b[A-Z]+\b|\b(?:train|val|test)\b", span)
    parts = [part.strip("-. ") for part in parts]
    wanted = [part for part in parts if len(part) > 2]
    assert wanted or re.fullmatch(r"(train|val|test)[-*\d]*", span), span
    for part in wanted:
        # A name may be put together from its stem and its ending.
        pieces = [f'"{Path(part).stem}"', f"{Path(part).suffix}"]
        is_there = part in source() or all(piece in source() for piece in pieces)
        assert is_there, f"{part} does not occur in the code"


def check_here(span):
    if span in configs.Config.model_fields or (ROOT / span).exists():
        return
    if span.startswith(("python ", "bigearthnet-tf ")):
        check_command(span)
    elif re.match(r'"\w+": ', span):
        for key, value in json.loads(f"{{{span}}}").items():
            assert key in configs.Config.model_fields, key
            try:
                configs.from_dict({key: value})
            except ValueError as error:
                # What needs other keys beside it is fine.
                assert f" {key}: " not in str(error), error
    elif re.fullmatch(r"(bigearthnet_tf|keras)(\.\w+)+", span):
        module, name = span, []
        while True:
            try:
                found = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, last = module.rpartition(".")
                name.insert(0, last)
        for part in name:
            found = getattr(found, part)
    else:
        check_name(span)


@pytest.mark.parametrize("project", THEIRS)
def test_nothing_of_a_project_is_left_out(project):
    cells = " ".join(row[0] for name, row in ROWS if name == project)
    spans = " ".join(SPAN.findall(cells))
    words = set(re.split(r"[\s,]+", spans)) | set(SPAN.findall(cells))
    words |= {word.split("=")[0] for word in words}
    missing = [w for w in THEIRS[project].split() if w not in words]
    assert not missing


@pytest.mark.parametrize("name", PAGES)
def test_what_the_tables_name_exists(name):
    faults = []
    rows = [row for page, row in ROWS if page == name]
    for row in rows:
        if len(row) != 3:
            faults.append(f"{row}: expected three cells")
            continue
        theirs, here, differs = row
        spans = SPAN.findall(here)
        if here == "–":
            if not differs:
                faults.append(f"{theirs}: says not why there is none")
        elif not spans:
            faults.append(f"{theirs}: names nothing of ours: {here}")
        for span in spans:
            try:
                check_here(span)
            except (AssertionError, AttributeError, ValueError) as error:
                faults.append(f"{theirs} -> `{span}`: {error}")
    assert len(rows) > 10 or name not in THEIRS
    assert not faults, "\n".join(faults)
