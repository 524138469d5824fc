"""Own modules of models that are not there, can't be imported, or bring nothing."""

from doors.case import Case

NET = """
import keras
import bigearthnet_tf

@bigearthnet_tf.register_model("MyNet")
def my_net(x):
    return keras.layers.GlobalAveragePooling2D()(x)
"""
# What a module says, and how it is answered.
MODULES = {
    "that is not there": (None, ["MyNet.py: no such module", "working directory"]),
    "that fails": ("import keras\n1 / 0\n", ["can't be imported", "line 2"]),
    "that imports what is not there": ("import no_such_thing\n", ["ModuleNotFound"]),
    "with a syntax error": ("def f(:\n", ["SyntaxError", "line 1"]),
    "that registers nothing": ("x = 1\n", ["registers nothing", "register_model"]),
    "with a name that is taken": (
        NET.replace("MyNet", "resnet50"),
        ["MyNet.py", "'resnet50' of a model is taken"],
    ),
    "of the TF project": (
        "class DNN_model:\n    pass\n",
        ["DNN_model is the form of the TF project", "own_modules.md"],
    ),
}
OUTPUTS = {
    "an output that is an image": "x",
    "no output": "None",
    "a builder that fails": "x.no_such_thing",
}


def _with(text, door="train", **keys):
    def call(kit, here):
        given = {"model_name": "MyNet", "modules": ["MyNet.py"], **keys}
        if door != "train":
            given["out_dir"] = str(kit.run)
        kit.write_config(here, **given)
        if text is not None:
            (here / "MyNet.py").write_text(text)
        return ["config.json"]

    return call


def _published(kit, here):
    kit.write_config(here, model_name="MyNet", modules=["MyNet.py"])
    (here / "MyNet.py").write_text("open('executed', 'w')\n")
    (here / "model.safetensors").touch()
    return ["config.json"]


CASES = [
    *(
        Case("an own module", name, door, _with(text, door), says)
        for name, (text, says) in MODULES.items()
        for door in ("train", "eval", "embed")
    ),
    *(
        Case(
            "an own model",
            name,
            "train",
            _with(NET.replace("keras.layers.GlobalAveragePooling2D()(x)", output)),
            ["model 'MyNet'", r"\(batch, features\)|AttributeError"],
        )
        for name, output in OUTPUTS.items()
    ),
    Case(
        "an own module",
        "that a published folder names",
        "train",
        _published,
        ["of a published folder are not executed"],
    ),
    Case(
        "an own module",
        "for a task that nothing brings",
        "train",
        _with(NET, task="segmentatoin"),
        ["unknown task 'segmentatoin'"],
    ),
    Case(
        "an own module",
        "for an augmentation that nothing brings",
        "train",
        _with(NET, augmentation=["flip"]),
        ["unknown augmentation 'flip'"],
    ),
]
