"""Python modules of the user: found, executed once, remembered, refused."""

import hashlib
import json
import re
import sys
from pathlib import Path

import keras
import pytest

import bigearthnet_tf
from bigearthnet_tf import config as configs
from bigearthnet_tf import losses, models
from bigearthnet_tf.models import augmentation, build
from bigearthnet_tf.tasks import TASKS, own_modules

ROOT = Path(__file__).parents[2]
NET = """
import keras
import bigearthnet_tf

@bigearthnet_tf.register_model("MyNet", "my-net")
def my_net(x, *, width=4):
    x = keras.layers.Conv2D(width, 5, strides=4, activation="relu")(x)
    return keras.layers.GlobalAveragePooling2D()(x)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    own_modules.forget()


def config(*modules, **keys):
    return configs.from_dict({"modules": list(modules), **keys})


def write(folder, text=NET, name="MyNet.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_brings_a_model_and_is_executed_once(folder):
    count = "\nwith open('count.txt', 'a') as file:\n    file.write('x')\n"
    path = write(folder, NET + count)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert own_modules.load(config("MyNet.py")) == {"MyNet.py": digest}
    assert own_modules.load(config("MyNet.py")) == {"MyNet.py": digest}
    assert (folder / "count.txt").read_text() == "x"
    model = bigearthnet_tf.build_model("MyNet", 19, width=8)
    assert model.output_shape == (None, 19)
    assert models.get_model("my-net").is_own
    assert not models.get_model("resnet50").is_own


def test_a_file_that_has_changed_is_executed_anew(folder):
    path = write(folder)
    first = own_modules.load(config("MyNet.py"))
    path.write_text(NET.replace("width=4", "depth=1, width=4"))
    assert own_modules.load(config("MyNet.py")) != first
    assert models.get_model("MyNet").options() == ["depth", "width"]


def test_the_model_in_the_folder_models_needs_no_key(folder):
    assert own_modules.load(config(model_name="resnet50")) == {}
    write(folder, name="models/MyNet.py")
    found = own_modules.load(config(model_name="MyNet"))
    assert list(found) == ["models/MyNet.py"]
    # Also once it is registered: a run remembers it each time.
    assert own_modules.load(config(model_name="MyNet")) == found


def test_a_model_of_the_zoo_comes_before_the_folder_models(folder):
    write(folder, "raise RuntimeError", name="models/resnet50.py")
    assert own_modules.load(config(model_name="resnet50")) == {}


def test_import_names_are_found_from_the_working_directory(folder):
    write(folder, name="lab_nets_1/__init__.py", text="from lab_nets_1 import nets\n")
    write(folder, name="lab_nets_1/nets.py")
    before = own_modules.load(config("lab_nets_1"))
    assert "MyNet" in models.list_models()
    digest = hashlib.sha256()
    for name in ("__init__.py", "nets.py"):
        digest.update((folder / "lab_nets_1" / name).read_bytes())
    assert before == {"lab_nets_1": digest.hexdigest()}
    # Python imports a name once.
    write(folder, NET + "\n", name="lab_nets_1/nets.py")
    assert own_modules.load(config("lab_nets_1")) == before


def test_what_lies_beside_a_file_can_be_imported(folder):
    write(folder, "WIDTH = 3\n", name="nets/my_blocks_1.py")
    text = NET.replace("width=4", "width=WIDTH").replace(
        "import keras", "import keras\nfrom my_blocks_1 import WIDTH", 1
    )
    write(folder, text, name="nets/MyNet.py")
    own_modules.load(config("nets/MyNet.py"))
    assert bigearthnet_tf.build_model("MyNet", 2).layers[-1].input.shape[1] == 3


def test_layers_without_a_name_are_called_alike_each_time(folder):
    write(folder)
    own_modules.load(config("MyNet.py"))
    first, second = (bigearthnet_tf.build_model("MyNet", 3) for _ in range(2))
    assert [v.path for v in first.variables] == [v.path for v in second.variables]
    # Those that somebody makes before and after keep apart.
    names = [keras.layers.Dense(1).name for _ in range(2)]
    bigearthnet_tf.build_model("MyNet", 3)
    assert keras.layers.Dense(1).name not in names


def test_losses_augmentations_tasks_and_encoders_come_along(folder):
    write(
        folder,
        """
from keras import ops
import bigearthnet_tf as ben
from bigearthnet_tf.models.augmentation import Augmentation
from bigearthnet_tf.tasks.classification import Classification

@ben.register_loss("brier")
def brier(labels, logits):
    return ops.mean((labels - ops.sigmoid(logits)) ** 2, axis=-1)

@ben.register_class_loss("margin")
def margin(classes, logits):
    return 1 - ops.max(logits, axis=-1)

@ben.register_augmentation("haze")
class Haze(Augmentation):
    def change(self, images):
        return [x + 1.0 for x in images]

@ben.register_task("mine")
class Mine(Classification):
    pass

@ben.register_encoder("mean_of_dates")
def mean_of_dates(x, doy, mask, *, latent_dim):
    return ops.mean(x, axis=1)
""",
        "own.py",
    )
    own_modules.load(config("own.py", augmentation=["haze"], task="mine"))
    loss = losses.build_loss("brier")
    assert loss([[1.0, 0.0]], [[0.0, 0.0]]).numpy() == pytest.approx([0.25])
    weighted = losses.build_class_loss("margin", weights=[1.0, 3.0])
    found = weighted(keras.ops.array([1, -1, 0]), keras.ops.array([[0.0, -1.0]] * 3))
    assert found.numpy().tolist() == [3.0, 0.0, 1.0]
    hazy = build.augment(keras.ops.zeros((1, 2, 2, 1)), ["haze"], {})
    assert not hazy.numpy().any()  # not in inference
    layer = augmentation.AUGMENTATIONS.get("haze")()
    assert layer(keras.ops.zeros((1, 2, 2, 1)), training=True).numpy().all()
    assert TASKS.get("mine").__name__ == "Mine"


BAD = {
    "no such file": (None, r"no such module \(No such file"),
    "a syntax error": ("def f(:\n", r"SyntaxError: .*\(line 1\)"),
    "an error": ("import keras\n\n1 / 0\n", r"ZeroDivisionError: .*\(line 3\)"),
    "an import that fails": ("import no_such_1\n", "ModuleNotFoundError: No module"),
    "it leaves": ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    "nothing registered": ("x = 1\n", "registers nothing; decorate a function"),
    "a name that is taken": (
        NET.replace('"MyNet"', '"resnet50"'),
        r"the name 'resnet50' of a model is taken: choose another one \(line 5\)",
    ),
    "an alias that is taken": (NET.replace("my-net", "ResNet50"), "'ResNet50'.*taken"),
    "the form of the TF project": (
        "import tensorflow.contrib.slim\n\nclass DNN_model:\n    pass\n",
        r"class DNN_model is the form of the TF project.*register_model\('MyNet'\)",
    ),
    "an augmentation that is none": (
        "import bigearthnet_tf as b\nb.register_augmentation('a')(lambda x: x)\n",
        "augmentation 'a': expected a subclass of",
    ),
    "a task that is none": (
        "import bigearthnet_tf as b\nb.register_task('t')(type('T', (), {}))\n",
        "task 't': lacks build_model, data_fingerprint",
    ),
    "null bytes": ("x = 1\0", "can't be imported: SyntaxError: source .* null bytes$"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_module_is_refused_in_one_line_and_leaves_nothing(folder, kind):
    text, says = BAD[kind]
    before = {name: len(of.names()) for name, of in registries().items()}
    if text is not None:
        write(folder, text)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^MyNet.py: .*{says}"):
        own_modules.load(config("MyNet.py"))
    assert {name: len(of.names()) for name, of in registries().items()} == before
    if text is not None:
        write(folder)
        own_modules.load(config("MyNet.py"))  # mended, it works


def registries():
    return {
        "models": models.zoo.MODELS,
        "augmentations": augmentation.AUGMENTATIONS,
        "losses": losses.LOSSES,
        "tasks": TASKS,
    }


def test_a_module_that_fails_halfway_registers_nothing(folder):
    write(folder, NET + "\nraise RuntimeError('halfway')\n")
    with pytest.raises(ValueError, match="RuntimeError: halfway"):
        own_modules.load(config("MyNet.py"))
    assert "MyNet" not in models.list_models()


PACKAGES = {
    "1 / 0": r"lab_3.nets: can't be imported: ZeroDivisionError: .* \(line 1\)",
    "import sys; sys.exit(5)": "lab_3.nets: can't be imported: SystemExit: 5",
    "import no_such_4": "lab_3.nets: can't be imported: ModuleNotFoundError",
}


@pytest.mark.parametrize("text", PACKAGES)
def test_a_package_that_fails_is_refused_in_one_line(folder, text):
    write(folder, text, name="lab_3/__init__.py")
    write(folder, name="lab_3/nets.py")
    with pytest.raises(ValueError, match=PACKAGES[text]):
        own_modules.load(config("lab_3.nets"))
    assert "MyNet" not in models.list_models()


def test_a_folder_without_init_is_told(folder):
    (folder / "lab_5").mkdir()
    with pytest.raises(ValueError, match=r"lab_5: is a folder without __init__.py"):
        own_modules.load(config("lab_5"))


def test_an_import_by_the_user_and_a_run_agree(folder):
    """In either order, and as a notebook does it again and again."""
    write(folder, name="MyNet_6.py")
    own_modules.load(config("MyNet_6.py"))
    sys.path.append(str(folder))
    __import__("MyNet_6")
    own_modules.load(config("MyNet_6.py", "MyNet_6"))
    assert bigearthnet_tf.build_model("MyNet", 2)
    # Another function of the same file may not take the name.
    again = NET.replace("def my_net", "def other") + NET
    write(folder, again, name="MyNet_7.py")
    with pytest.raises(ValueError, match="'MyNet' of a model is taken"):
        own_modules.load(config("MyNet_7.py"))


def test_a_run_remembers_what_it_executed_whatever_becomes_of_the_file(folder):
    path = write(folder)
    asked = config("MyNet.py")
    digests = own_modules.load(asked)
    for text in (NET + "\n", "1 / 0", None):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        assert own_modules.loaded(asked) == digests


def test_a_file_in_models_has_to_bring_its_model(folder):
    write(folder, name="models/Net.v2.py")
    asked = config(model_name="Net.v2")
    with pytest.raises(ValueError, match=r"registers model 'MyNet', but no 'Net.v2'"):
        own_modules.load(asked)


@pytest.mark.parametrize("name", ["no_such_2", "os.no_such", "..up"])
def test_an_import_name_that_leads_nowhere_is_refused(name):
    with pytest.raises(FileNotFoundError, match="no module of this name"):
        own_modules.load(config(name))


def test_names_of_nobody_are_refused_without_modules():
    for key, name in (("task", "segmentatoin"), ("augmentation", ["flip"])):
        with pytest.raises(ValueError, match=rf"{key}: unknown name .*did you mean"):
            configs.from_dict({key: name})


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ("x", r"expected features \(batch, features\), got shape \(None, 29, 29, 4\)"),
        ("None", "expected features .* got NoneType"),
        ("[x]", "expected features .* got list"),
        ("keras.ops.zeros((8, 4))", "not made of the builder's input"),
        ("keras.Model(x, x)", "expected features .*: return its output|can't be built"),
        ("keras.layers.No()(x)", "can't be built: AttributeError"),
    ],
)
def test_a_model_with_another_output_is_refused(folder, returns, says):
    write(folder, NET.replace("keras.layers.GlobalAveragePooling2D()(x)", returns))
    own_modules.load(config("MyNet.py"))
    with pytest.raises(ValueError, match=rf"model 'MyNet'.*{says}"):
        bigearthnet_tf.build_model("MyNet", 2)


def test_changes_since_a_checkpoint_are_named(folder, caplog):
    write(folder)
    write(folder, NET.replace("MyNet", "Other").replace("my-net", "o"), "b/MyNet.py")
    now = own_modules.load(config("MyNet.py", "b/MyNet.py"))
    own_modules.warn_of_changes(now, folder)
    own_modules.warn_of_changes({"b/MyNet.py": now["b/MyNet.py"]}, folder)
    moved = {"elsewhere/MyNet.py": now["MyNet.py"]}
    own_modules.warn_of_changes(moved, folder)
    assert "trained with" not in caplog.text
    own_modules.warn_of_changes({"MyNet.py": "0" * 64, "b.py": "1" * 64}, folder)
    changed, missing = [m for m in caplog.messages if "trained with" in m]
    assert "MyNet.py that it was trained with has changed (SHA-256 000000" in changed
    assert "b.py that it was trained with is not loaded now" in missing


def test_a_file_beside_the_config_is_found(folder):
    write(folder, name="lab/MyNet.py")
    path = folder / "lab" / "config.json"
    path.write_text(json.dumps({"modules": ["MyNet.py"]}))
    assert configs.load(path).modules == [str(folder / "lab" / "MyNet.py")]
    # One in the working directory is the same file, or a question.
    write(folder)
    assert configs.load(path).modules == ["MyNet.py"]
    write(folder, NET + "\n")
    with pytest.raises(ValueError, match="are different files; give the path"):
        configs.load(path)


def test_the_examples_of_the_page_work(folder):
    page = (ROOT / "docs" / "own_modules.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    ours = [text for text in blocks if "@bigearthnet_tf.register" in text]
    assert len(ours) == 3
    for number, text in enumerate(ours):
        write(folder, text, f"example{number}.py")
    names = [f"example{number}.py" for number in range(len(ours))]
    own_modules.load(config(*names, loss="brier", augmentation=["flips", "haze"]))
    for name in ("MyNet", "TheirNet"):
        model = bigearthnet_tf.build_model(name, 19, augmentation=["flips", "haze"])
        assert model.output_shape == (None, 19)
    losses.build_loss("brier")
    assert TASKS.get("my_task")


@pytest.mark.parametrize("place", [".", "deep/er"])
def test_a_published_folder_brings_no_code(folder, monkeypatch, place):
    pub = folder / "pub"
    for name in (f"{place}/evil.py", f"{place}/models/Evil.py"):
        write(pub, "open('executed', 'w')\n", name)
    for name in ("config.json", "model.safetensors"):
        (pub / name).touch()
    path = pub / place / "training.json"
    path.write_text(json.dumps({"modules": ["evil.py"]}))
    for asked in (configs.load(path), config("pub" + f"/{place}/evil.py")):
        with pytest.raises(ValueError, match="folder of published weights, of which"):
            own_modules.load(asked)
    monkeypatch.chdir(pub / place)
    for asked in (config(model_name="Evil"), config("evil.py")):
        with pytest.raises(ValueError, match="folder of published weights, of which"):
            own_modules.load(asked)
    assert not list(folder.rglob("executed"))
    # What the user names elsewhere is the user's.
    write(folder, name="mine.py")
    loaded = configs.load("training.json", [f'modules=["{folder}/mine.py"]'])
    assert own_modules.load(loaded)
