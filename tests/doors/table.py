"""Runs all cases and prints a table: what each door does with each kind of odd input.

python tests/doors/table.py [--kit FOLDER] [WORDS ...]
"""

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from doors.server import Server, all_cases  # noqa: E402


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only cases whose id has all of them")
    parser.add_argument("--kit", help="folder that keeps the kit for the next call")
    arguments = parser.parse_args()
    cases = all_cases().values()
    chosen = [c for c in cases if all(word in c.id for word in arguments.words)]
    does = defaultdict(lambda: defaultdict(Counter))
    wrong, seconds = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(arguments.kit or folder))
        for case in chosen:
            result = server.run(case.id)
            seconds += result.get("seconds", 0)
            faults = result.get("faults", ["broken"])
            what = "wrong" if faults else "refused" if case.says else "right"
            does[case.kind][case.door][what] += 1
            if faults:
                said = result.get("broken", result.get("err", ""))
                wrong.append(f"{case.id}\n    {faults}\n    {said[-1500:]}")
            print(f"{what:8}{case.id}", file=sys.stderr)
        server.close()
    print("| kind | door | what it does |\n|--|--|--|")
    for kind, doors in does.items():
        for door, counts in doors.items():
            told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
            print(f"| {kind} | {door} | {told} |")
    print(f"\n{len(chosen)} cases, {len(wrong)} wrong, {seconds:.0f} s.")
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
