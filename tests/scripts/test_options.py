"""Every option of every command refuses what it can't mean, in one line."""

import argparse
import sys

import pytest
from run_files import load_script

from bigearthnet_tf import cli, console

# Numbers below 0 mean something for these, and empty texts for those.
MAY_BE_NEGATIVE = {"nodata", "offset", "transform"}
MAY_BE_EMPTY = {"maps", "prefix"}
SCRIPTS = ("prep_splits", "train", "eval")


class _Seen(Exception):
    pass


def parser_of(main):
    """Returns the parser that a program reads its command line with."""
    with pytest.MonkeyPatch.context() as patch:

        def stop(parser, *_, **__):
            raise _Seen(parser)

        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        with pytest.raises(_Seen) as seen:
            main()
    return seen.value.args[0]


def actions_of(parser, name):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own, below in action.choices.items():
                yield from actions_of(below, f"{name} {own}")
        elif isinstance(action, argparse._StoreAction | argparse._AppendAction):
            yield name, parser, action


def every_action():
    for name in SCRIPTS:
        yield from actions_of(parser_of(load_script(name).main), name)
    for command in cli.COMMANDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["bigearthnet-tf", command])
            whole = parser_of(cli.run)
        commands = next(
            action
            for action in whole._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        yield from actions_of(commands.choices[command], command)


ACTIONS = list(every_action())
NUMBERS = [
    (name, parser, action)
    for name, parser, action in ACTIONS
    if getattr(action.type, "__qualname__", "").startswith(("whole.", "number."))
]


def read(parser, action, text):
    """Returns what argparse makes of a text."""
    return parser._get_value(action, text)


def ids(cases):
    return [f"{name} {action.dest}" for name, _, action in cases]


def test_all_options_are_looked_at():
    assert len(NUMBERS) > 40
    assert len(ACTIONS) > 150
    # Python's own types take NaN, infinity, and numbers of any size.
    assert not [one for one in ACTIONS if one[2].type in (int, float)]


@pytest.mark.parametrize(("name", "parser", "action"), NUMBERS, ids=ids(NUMBERS))
def test_numbers_are_finite_and_in_bounds(name, parser, action):
    bad = ["nan", "inf", "-inf", "1e999", "9" * 5000, "many", "", " ", "1,5", "0x10"]
    if action.dest not in MAY_BE_NEGATIVE:
        bad += ["-1", "-0.5", f"-{'9' * 30}"]
    for text in bad:
        with pytest.raises(argparse.ArgumentError) as refusal:
            read(parser, action, text)
        assert "expected a " in str(refusal.value)
        assert len(str(refusal.value)) < 250
    default = action.default
    for value in default if isinstance(default, list | tuple) else [default]:
        if value is not None and action.dest != "profile":  # 0: not at all
            assert read(parser, action, str(value)) == value


@pytest.mark.parametrize(("name", "parser", "action"), ACTIONS, ids=ids(ACTIONS))
def test_empty_texts_mean_nothing(name, parser, action):
    if action.dest in MAY_BE_EMPTY:
        assert read(parser, action, "") == ""
        return
    for text in ("", "  "):
        with pytest.raises(argparse.ArgumentError):
            parser._check_value(action, read(parser, action, text))


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (console.whole(0), ["0", "7", "+3", "2147483647"], ["-1", "2147483648", "1.0"]),
        (console.at_least_one, ["1"], ["0", "٠", "²"]),
        (console.whole(0, 9), ["9"], ["10"]),
        (console.number(), ["-1e3", "0", "1.5"], ["1e309", "NaN", "Infinity", "1 2"]),
        (console.number(above=0), ["1e-9"], ["0", "-0.0"]),
        (console.number(0, 100), ["0", "100"], ["100.001", "-0.001"]),
        (console.word, ["a b"], ["", "\t", "a\0b"]),
    ],
)
def test_bounds(kind, right, wrong):
    for text in right:
        kind(text)
    for text in wrong:
        with pytest.raises(argparse.ArgumentTypeError, match=r"^expected .*, got "):
            kind(text)


def test_a_wrong_call_is_one_line(call):
    for words in (["split", "--seed", -1], ["index", "show", ""], ["nothing"], []):
        outcome = call("bigearthnet-tf", *words)
        assert outcome.status == 2
        assert len(outcome.err.strip().splitlines()) == 1
        assert "--help" in outcome.err
