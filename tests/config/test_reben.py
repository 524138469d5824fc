"""Command lines of reBEN's training script as configs."""

import logging
import shlex
from pathlib import Path

import pytest

from bigearthnet_tf import config as configs
from bigearthnet_tf import console
from bigearthnet_tf.config.projects import reben
from bigearthnet_tf.config.projects.translated import CommandLine

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    p.stem for p in (ROOT / "configs/reben").glob("*.json") if p.stem != "base"
)
# As the paper's command is printed in reBEN's README.
PAPER = (
    "--no-test-run --use-wandb --upload-to-hub --architecture=resnet50 --bandconfig=s2 "
    "--bs=512 --lr=0.001"
)
# What the script has where no flag says otherwise (spec, section 5.3).
DEFAULTS = {
    "model_name": "resnet101",
    "seed": 42,
    "learning_rate": 0.001,
    "nb_epoch": 100,
    "batch_size": 512,
    "drop_rate": 0.15,
    "drop_path_rate": 0.15,
    "warmup_iterations": 1000,
    "modality": "MM",
    "bands": None,
    "wandb_project": None,
}


def load(arguments, *overrides):
    return configs.load(CommandLine("reben", arguments), overrides)


def keys_of(arguments):
    found = load(arguments).model_dump()
    return {key: found[key] for key in DEFAULTS}


def differences(arguments):
    """Keys that are other than with no argument at all."""
    plain, own = load("").model_dump(), load(arguments).model_dump()
    # Named after the others.
    del own["out_dir"]
    return {key: value for key, value in own.items() if value != plain[key]}


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_the_shipped_config_of_the_same_architecture(name):
    shipped = configs.load(ROOT / f"configs/reben/{name}.json").model_dump()
    found = load(f"--no-test-run --architecture={name} --bandconfig=s2").model_dump()
    assert shipped.pop("out_dir") == f"runs/reben/{name}"
    assert found.pop("out_dir") == f"runs/reben/{name}-42-s2"
    assert found == shipped


def test_without_arguments_the_defaults_of_the_script_hold(caplog):
    with caplog.at_level(logging.INFO):
        assert keys_of("") == DEFAULTS
    assumed, left_out = [
        record.getMessage()
        for record in caplog.records
        if "--from-reben" in record.getMessage()
    ]
    assert "--architecture resnet101 --seed 42 --lr 0.001" in assumed
    assert "adamw" in assumed and "out_dir runs/reben/resnet101-42-all" in assumed
    assert "this is the whole run" in left_out


def test_the_command_of_the_paper(caplog):
    found = load(PAPER)
    assert (found.model_name, found.modality, found.bands) == ("resnet50", "S2", None)
    assert (found.batch_size, found.wandb_project) == (512, "BENv2")
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1
    assert "publish RUN --repo-id ORG/resnet50-s2-v0.2.0" in said[0]
    assert "--test-run" not in said[0].partition("not carried over")[2]


CARRIED = {
    "--architecture vit_base_patch8_224": {"model_name": "vit_base_patch8_224"},
    "--architectures=resnet18": {"model_name": "resnet18"},
    "--seed 24": {"seed": 24},
    "--lr 1e-4": {"learning_rate": 1e-4},
    "--epochs=7": {"nb_epoch": 7},
    "--bs 16": {"batch_size": 16},
    "--bs 16 --bs 32": {"batch_size": 32},
    "--drop_rate 0.375": {"drop_rate": 0.375},
    "--drop-path-rate=0": {"drop_path_rate": 0.0},
    "--warmup -1": {"warmup_iterations": -1},
    "--bandconfig s1": {"modality": "S1"},
    "--bandconfig s1_full": {"modality": "S1"},
    "--bandconfig all_full": {"bands": "all_full"},
    "--bandconfig s2_full": {"modality": "S2", "bands": "s2_full"},
    "--bandconfig rgb": {"modality": "S2", "bands": "rgb"},
    "--bandconfig all_no_rgb": {"bands": "all_no_rgb"},
    "--bandconfig s2_no_rgb": {"modality": "S2", "bands": "s2_no_rgb"},
    "--use_wandb": {"wandb_project": "BENv2"},
    "--no-use-wandb": {},
    "--use-wandb --no_use_wandb": {},
    "--test-run": {},
    "--devices 1": {"devices": "gpu:0", "synchronize_batch_norm": False},
    "--bs 8 --devices 2": {
        "devices": "gpu:0,1",
        "batch_size": 16,
        "synchronize_batch_norm": False,
    },
    "--architecture convmixer_768_32": {
        "model_name": "convmixer_768_32",
        "drop_path_rate": 0.0,
    },
}


@pytest.mark.parametrize("arguments, keys", CARRIED.items(), ids=CARRIED)
def test_a_flag_becomes_a_key(arguments, keys):
    assert differences(arguments) == keys


LEFT_OUT = {
    "--workers 4": "all cores",
    "--hf-entity me": "--repo-id",
    "--resume-from best": "pickles",
    "--config-path c.yaml": "prep_splits.py --lmdb FOLDER/BENv2.lmdb",
    "--strategy ddp": "see cluster",
    "--linear-probe": "for DINOv3",
    "--head-type mlp --head-mlp-dims 9 --head-dropout 0.2": "head_dims",
    "--upload-to-hub --hf-entity me": "--repo-id me/resnet101-all-v0.2.0",
}


@pytest.mark.parametrize("arguments, advice", LEFT_OUT.items(), ids=LEFT_OUT)
def test_a_flag_without_counterpart_is_in_the_list_of_those(arguments, advice):
    assert differences(arguments) == {}
    translated = reben.translate(["--no-test-run", *arguments.split()], {})
    said = "; ".join(translated.left_out)
    assert advice in said
    first = arguments.split()[0]
    assert said.startswith(first)
    assert not reben.translate(["--no-test-run"], {}).left_out


def test_runs_have_folders_of_their_own():
    folders = {
        load(text).out_dir
        for text in ("", "--seed 0", "--bandconfig s2_full", "--run-name second")
    }
    assert folders == {
        f"runs/reben/resnet101-{rest}"
        for rest in ("42-all", "0-all", "42-s2_full", "42-all-second")
    }


def test_overrides_come_first_and_are_not_assumed(caplog):
    with caplog.at_level(logging.INFO):
        found = load("--bs 8 --no-test-run", "batch_size=2", "optimizer=sgd", "seed=1")
    assert (found.batch_size, found.optimizer, found.seed) == (2, "sgd", 1)
    said = [r.getMessage() for r in caplog.records if "assumed" in r.getMessage()]
    assert len(said) == 1
    assert "--seed" not in said[0] and "optimizer" not in said[0]
    assert "weight_decay 0.01" in said[0]


def test_dinov3_with_random_weights():
    with pytest.raises(ValueError, match="which DINOv3 is meant"):
        load("--architecture dinov3-base")
    with pytest.raises(ValueError, match="which DINOv3 is meant"):
        load("--dinov3-model-name facebook/dinov3-vitb16")
    chosen = "model_name=keras_hub/dinov3_base"
    arguments = "--architecture dinov3-base --head-type mlp --head-dropout 0.3"
    found = load(arguments, chosen)
    assert (found.head_dims, found.drop_rate) == ([1024, 512], 0.3)
    assert found.drop_path_rate == 0
    assert load(f"{arguments} --head-mlp-dims 9,8", chosen).head_dims == [9, 8]


WRONG = {
    "--warmup 0": "expected iterations above 0, or -1",
    "--warmup -2": "expected iterations above 0, or -1",
    "--bandconfig s3": "unknown 's3': did you mean 's2' or 's1'",
    "--bs many": "--bs: expected a whole number, got 'many'",
    "--lr nan": "learning_rate",
    "--seed -1": "seed",
    "--bs": "--bs: expected one argument",
    "--use-wandb=yes": "--use-wandb",
    "--devices 0": "--devices: expected a number of GPUs",
    "--head-type svm": "expected linear or mlp",
    "--arch resnet50": r"no argument '--arch'",
    "resnet50": "no argument 'resnet50'",
    "--bs '4": "as in a shell",
}


@pytest.mark.parametrize("arguments, says", WRONG.items(), ids=WRONG)
def test_what_is_wrong_is_named_in_a_line(arguments, says):
    with pytest.raises(ValueError, match=says) as error:
        load(arguments)
    assert "\n" not in str(error.value)


def test_all_unknown_flags_are_named_at_once():
    with pytest.raises(ValueError) as error:
        load("--archtecture resnet50 --batch_sizes=4 --bs 4 --droprate .1")
    assert str(error.value).startswith(
        "train_BigEarthNetv2_0.py: no argument '--archtecture' (did you mean "
        "'--architecture'?), '--batch-sizes'"
    )
    assert "'--droprate' (did you mean '--drop-rate'?)" in str(error.value)


@pytest.mark.parametrize("text", ["--architecture=resnet50", "--test-run", "--bs 4"])
@pytest.mark.parametrize(
    "before, after", [([], []), (["--debug"], ["--set", "seed=3"])]
)
def test_a_text_that_looks_like_an_option_is_taken_whole(text, before, after):
    parser = console.parser("")
    configs.add_arguments(parser)
    parser.add_argument("--test-run", action="store_true")
    for words in (["--from-reben", text], [f"--from-reben={text}"]):
        found = parser.parse_args([*before, *words, *after])
        assert found.config == CommandLine("reben", text)
        assert (found.test_run, found.set) == (False, after[1:])
    again = parser.parse_args(shlex.split(configs.repeat_arguments(found)))
    assert (again.config, again.set) == (found.config, found.set)


def test_one_source_of_settings_at_a_time(capsys):
    parser = console.parser("")
    configs.add_arguments(parser)
    for words in (["--from-reben"], ["a.json", "--from-reben", "--bs=4"], []):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
    assert len(capsys.readouterr().err.strip().splitlines()) == 3
