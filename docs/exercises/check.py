"""Check your answers to the exercises of a page of the course.

Each exercise is a function of pageN.py beside this file: write your answer there, then run

    python docs/exercises/check.py N
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expect import WrongError

HERE = Path(__file__).resolve().parent
PAGES = sorted(int(path.stem.removeprefix("page")) for path in HERE.glob("page*.py"))


def checks_of(page: int) -> dict[str, Callable[[Callable[..., Any]], None]]:
    """The checks of a page by the name of the exercise, in the page's order."""
    module = importlib.import_module(f"checks.page{page}")
    functions = inspect.getmembers(module, inspect.isfunction)
    own = {
        name: function
        for name, function in functions
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    return dict(sorted(own.items(), key=lambda item: item[1].__code__.co_firstlineno))


def verdict(check: Callable[[Callable[..., Any]], None], answer: Callable[..., Any] | None) -> str:
    """What is to be said of one answer: "right", "to do", or what is wrong with it."""
    if answer is None:
        return "missing: the file has no function of this name"
    try:
        check(answer)
    except NotImplementedError:
        return "to do"
    except WrongError as wrong:
        return f"wrong: {wrong}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"wrong: {type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
    return "right"


def main() -> int:
    """Check one page; the exit status is 0 where every answer is right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=int, choices=PAGES, help="the page's number")
    parser.add_argument("file", type=Path, nargs="?", help="your answers (default: pageN.py beside this)")
    arguments = parser.parse_args()
    file = arguments.file or HERE / f"page{arguments.page}.py"
    if not file.is_file():
        parser.error(f"there is no file {file}")
    try:
        answers = runpy.run_path(str(file))
    except Exception as error:
        print(f"{file.name} does not run: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    checks = checks_of(arguments.page)
    verdicts = {name: verdict(check, answers.get(name)) for name, check in checks.items()}
    for name, said in verdicts.items():
        print(f"{name}: {said}")
    right = sum(said == "right" for said in verdicts.values())
    print(f"{right} of {len(verdicts)} right")
    return 0 if right == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
