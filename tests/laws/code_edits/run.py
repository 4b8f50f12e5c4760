"""Fingerprints the projects whose folders and targets stand on stdin as JSON, each as if it were alone in the process."""

import importlib
import json
import sys
import traceback

from flowstone.fingerprints import code_fingerprint, source_fingerprint


def fingerprints(folder: str, ask: str) -> list[str]:
    module_name, _, path = ask.partition(":")
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        found = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
        fn = found.fn if getattr(type(found), "__flowstone_runnable__", False) else found
        once = [source_fingerprint(fn).digest.hex(), code_fingerprint(fn).digest.hex()]
        again = [source_fingerprint(fn).digest.hex(), code_fingerprint(fn).digest.hex()]
        if once != again:
            raise AssertionError("the second fingerprint in one process differs from the first")
        return once
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or folder).startswith(folder):
                del sys.modules[name]


if __name__ == "__main__":
    answers = []
    for folder, ask in json.load(sys.stdin):
        try:
            answers.append(fingerprints(folder, ask))
        except Exception:
            answers.append([traceback.format_exc()])
    json.dump(answers, sys.stdout)
