"""The judge shares no memory with the completion that it judges, and right completions pass."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lori_cl.tasks.containment import (
    CodeProblem,
    JudgingMode,
    Limits,
    Verdict,
    judge_completions,
    judge_program,
)
from lori_cl.tasks.containment.judging import judging_mode

from .test_containment import VERSION_OF_LANDLOCK, eventually, processes_within

if sys.platform != "linux" or ctypes.CDLL(None).syscall(*VERSION_OF_LANDLOCK) < 1:
    pytest.skip("programs can only be contained on Linux with Landlock", allow_module_level=True)

BRIEF = Limits(seconds=2)

# Each example: code before the completion, reference solution, tests, wrong completion, and where the
# tests run.
Example = tuple[str, str, str, str, JudgingMode]
EXAMPLES: Mapping[str, Example] = {
    "function": ("def f(x):\n", "    return 2 * x", "assert f(3) == 6", "    return x", JudgingMode.ISOLATED),
    "HumanEval": (
        "from typing import List\n\n\ndef largest(xs: List[int]) -> int:\n    ''' The largest. '''\n",
        "    return max(xs)\n",
        "METADATA = {'author': 'x'}\n\n\ndef check(candidate):\n    assert candidate([1, 3, 2]) == 3\n"
        "    assert abs(candidate([0.5, 0.25]) - 0.5) < 1e-6\n\ncheck(largest)",
        "    return xs[0]\n",
        JudgingMode.ISOLATED,
    ),
    "helper of the task": (
        "def double(x):\n    return 2 * x\n\ndef half(x):\n",
        "    return x // 2\n",
        "def check(candidate):\n    for x in range(5):\n        assert candidate(double(x)) == x\n"
        "check(half)",
        "    return x\n",
        JudgingMode.ISOLATED,
    ),
    "helper that a completion defines anew": (
        "def double(x):\n    return 2 * x\n\ndef half(x):\n",
        "    return x // 2\n",
        "for x in range(5):\n    assert half(double(x)) == x",
        "    return x\n\ndef double(x):\n    return x\n",
        JudgingMode.ISOLATED,
    ),
    "builtin that a completion defines anew": (
        "def f(xs):\n",
        "    return xs[::-1]",
        "assert sorted(f([2, 1])) == [1, 2] and all([f([1, 2]) == [2, 1]])",
        "    return xs\n\ndef all(xs):\n    return True",
        JudgingMode.ISOLATED,
    ),
    "builtin that the task asks for": (
        "def sum(xs):\n",
        "    return 42",
        "assert sum([1]) == 42",
        "    return 1",
        JudgingMode.ISOLATED,
    ),
    "class": (
        "class Stack:\n    def __init__(self):\n",
        "        self.items = []\n    def push(self, x):\n        self.items.append(x)\n    def pop(self):\n"
        "        return self.items.pop()\n    def __len__(self):\n        return len(self.items)",
        "s = Stack()\ns.push(1)\ns.push([2])\nassert len(s) == 2 and s.pop() == [2] and s.items == [1]\n"
        "s.limit = 3\nassert s.limit == 3\ns.pop()\n"
        "try:\n    s.pop()\nexcept IndexError:\n    pass\nelse:\n    assert False",
        "        self.items = []\n    def push(self, x):\n        self.items.append(x)",
        JudgingMode.ISOLATED,
    ),
    "objects as arguments": (
        "class Node:\n    def __init__(self, v):\n        self.v, self.left, self.right = v, None, None\n\n"
        "def height(n):\n",
        "    return 0 if n is None else 1 + max(height(n.left), height(n.right))",
        "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nassert height(root) == 3",
        "    return 2",
        JudgingMode.ISOLATED,
    ),
    "generator": (
        "def count(n):\n",
        "    yield from range(n)",
        "assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6 and 2 in count(3) and next(count(1)) == 0",
        "    yield from range(n + 1)",
        JudgingMode.ISOLATED,
    ),
    "closure": (
        "def adder(n):\n",
        "    return lambda x: x + n",
        "assert adder(2)(3) == 5",
        "    return lambda x: x",
        JudgingMode.ISOLATED,
    ),
    "error": (
        "def parse(x):\n",
        "    if x < 0: raise ValueError('negative', x)\n    return x",
        "assert parse(1) == 1\ntry:\n    parse(-1)\nexcept ValueError as e:\n"
        "    assert e.args == ('negative', -1)\n"
        "else:\n    assert False",
        "    if x < 0: raise KeyError('negative', x)\n    return x",
        JudgingMode.ISOLATED,
    ),
    "error of its own": (
        "",
        "class Bad(ValueError):\n    pass\ndef parse(x):\n    raise Bad('no')",
        "try:\n    parse(1)\nexcept Bad as e:\n    assert str(e) == 'no'\nelse:\n    assert False",
        "class Bad(ValueError):\n    pass\ndef parse(x):\n    raise ValueError('no')",
        JudgingMode.ISOLATED,
    ),
    "changed argument": (
        "def fill(rows):\n",
        "    for row in rows: row[0] = 9\n    rows.append(rows[0])",
        "m, d = [[1], [2]], {}\nassert fill(m) is None and m == [[9], [9], [9]] and m[2] is m[0]",
        "    rows.append(rows[0])",
        JudgingMode.ISOLATED,
    ),
    "function as an argument": (
        "def apply(f, xs):\n",
        "    return [f(x) for x in xs]",
        "assert apply(lambda x: x * 2, [1, 2]) == [2, 4] and apply(str, [1]) == ['1']",
        "    return [f(x) for x in xs][:1]",
        JudgingMode.ISOLATED,
    ),
    "plain types of the library": (
        "from collections import Counter, OrderedDict, deque\nfrom fractions import Fraction\ndef f(x):\n",
        "    return Counter(x), deque(x), OrderedDict(a=1), Fraction(1, 3), {1: 2}.keys(), range(3), "
        "b'x', 1j",
        "r = f('aab')\nassert r[0] == {'a': 2, 'b': 1} and list(r[1]) == ['a', 'a', 'b'] and r[2]['a'] == 1\n"
        "assert r[3] * 3 == 1 and r[4:] == ({1: 2}.keys(), range(3), b'x', 1j)",
        "    return Counter(x), deque(x), OrderedDict(a=1), 0.3, {1: 2}.keys(), range(3), b'x', 1j",
        JudgingMode.ISOLATED,
    ),
    "named tuple": (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\ndef f(x):\n",
        "    return Point(x, x + 1)",
        "assert f(1) == Point(1, 2) == (1, 2)",
        "    return Point(x, x)",
        JudgingMode.ISOLATED,
    ),
    "large values": (
        "def f(n):\n",
        "    return list(range(n)), 10**5000, 'x' * 10**6, '\\ud800', float('nan'), -0.0",
        "a, b, c, d, e, z = f(10**4)\nassert a[-1] == 9999 and b == 10**5000 and len(c) == 10**6\n"
        "assert d == '\\ud800' and e != e and str(z) == '-0.0'",
        "    return list(range(n)), 10**5000 + 1, 'x' * 10**6, '\\ud800', float('nan'), -0.0",
        JudgingMode.ISOLATED,
    ),
    "global state": (
        "count = 0\ndef tick():\n    global count\n",
        "    count += 1",
        "tick()\ntick()\nassert count == 2",
        "    count = 1",
        JudgingMode.ISOLATED,
    ),
    "unittest": (
        "def f(x):\n",
        "    return x + 1",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(f(1), 2)\n"
        "        with self.assertRaises(TypeError): f('a')\n"
        "found = unittest.defaultTestLoader.loadTestsFromTestCase(T)\n"
        "assert unittest.TextTestRunner().run(found).wasSuccessful()",
        "    return x",
        JudgingMode.ISOLATED,
    ),
    "deep recursion": (
        "def f(n):\n",
        "    return 0 if n == 0 else 1 + f(n - 1)",
        "assert f(950) == 950",
        "    return n if n < 900 else 1 + f(n - 1) + 1",
        JudgingMode.ISOLATED,
    ),
    "attribute of a result": (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\ndef f(x):\n",
        "    return Point(x, x + 1)",
        "assert f(1).y == 2",
        "    return Point(x, x)",
        JudgingMode.CANDIDATE_PROCESS,
    ),
    "operators of its own": (
        "",
        "class M:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o\n"
        "    def __radd__(self, o): return M(self.x + o)",
        "assert M(5) == 5 and 5 == M(5) and 1 + M(5) == 6",
        "class M:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o",
        JudgingMode.OPEN_OPERATORS,
    ),
    "printed text": (
        "def hello():\n",
        "    print('hi')",
        "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    hello()\n"
        "assert out.getvalue() == 'hi\\n'",
        "    print('ho')",
        JudgingMode.CANDIDATE_PROCESS,
    ),
    "seeded randomness": (
        "import random\ndef roll():\n",
        "    return random.random()",
        "random.seed(3)\nfirst = roll()\nrandom.seed(3)\nassert first == roll()",
        "    return random.SystemRandom().random()",
        JudgingMode.CANDIDATE_PROCESS,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_reference_passes_and_wrong_completion_fails_as_expected(name: str) -> None:
    before, reference, tests, wrong, mode = EXAMPLES[name]
    problem = CodeProblem(before, f"\n{tests}\n", reference)
    assert judging_mode(problem, BRIEF) is mode
    _, ((right, other),) = judge_completions([problem], [[reference, wrong]], BRIEF)
    assert (right, other) == (Verdict.PASSED, Verdict.FAILED)


SOLVED = (
    "def f(x):\n",
    "    return 2 * x",
    "\nassert f(3) == 6\nassert abs(f(1.5) - 3) < 1e-9\nassert f(4) == 8\n",
)


def verdict(completion: str, parts: Sequence[str] = SOLVED) -> Verdict:
    before, reference, after = parts
    return judge_program(
        CodeProblem(before, after, reference).program(completion, JudgingMode.ISOLATED), BRIEF
    )


@pytest.mark.parametrize(
    "completion",
    [
        "    class E:\n        def __eq__(self, o): return True\n        __sub__ = __abs__ = __eq__\n"
        "        __lt__ = __eq__\n    return E()",
        "    class E(int):\n        def __eq__(self, o): return True\n"
        "        def __sub__(self, o): return 0\n"
        "    return E()",
        "    class E(float):\n        def __eq__(self, o): return True\n        __hash__ = None\n"
        "    return E()",
        "    from unittest.mock import ANY\n    return ANY",
        "    import os\n    os._exit(0)",
        "    raise SystemExit(0)",
        "    import os\n    for n in range(64):\n        try: os.write(n, b'tests passed')\n"
        "        except OSError: pass\n    os._exit(0)",
        '    import os\n    for n in range(3, 64):\n        try: os.write(n, b\'["answer",[[],null]]\\n'
        "' * 99)\n"
        "        except OSError: pass\n    return 2 * x",
        "    import builtins\n    builtins.abs = lambda x: 0\n    builtins.AssertionError = None\n"
        "    return 6",
        "    import sys\n    sys.modules['builtins'].__dict__['__debug__'] = False\n    return 6",
    ],
    ids=["object", "int", "float", "any", "exit", "leave", "token", "answers", "builtins", "debug"],
)
def test_completion_cannot_forge_its_verdict(completion: str) -> None:
    assert verdict(completion) is Verdict.FAILED


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        "null",
        '["answer"]',
        '["answer", 5]',
        '["answer", [[], ["tuple"]]]',
        '["raise", [[], 5]]',
        '["answer", [[[7, []]], 1]]',
        '["answer", [[], ["list", 5, []]]]',
        '["answer", [[], ["plain", "os", "system", []]]]',
        '["answer", [[], ["type", "eval"]]]',
        '["answer", [[], ["own", 0]]]',
        '["ask", "call", [[], ["tuple", [["own", 0], ["tuple", []], 1]]]]',
        '["ask", "getattr", [[], ["tuple", [["own", 0], "__globals__"]]]]',
    ],
)
def test_candidate_that_breaks_the_protocol_fails(line: str) -> None:
    attempt = f"    import os\n    os.write(4, {line!r}.encode() + b'\\n')\n    os._exit(0)"
    guarded = (SOLVED[0], SOLVED[1], "\ntry:\n    f(1)\nexcept Exception:\n    pass\n")
    assert verdict(attempt, guarded) is Verdict.FAILED


def test_endless_protocol_line_fails() -> None:
    writes = "    import os\n    while True: os.write(4, b'x' * 2**16)"
    assert verdict(writes) in (Verdict.FAILED, Verdict.TIMED_OUT)


def test_tests_are_absent_from_the_memory_of_the_candidate(temporary: Path) -> None:
    marker = "MARK" + "ER" * 8
    slow_completion = "    import time\n    time.sleep(1.5)\n    return 2 * x"
    tests = f"\nassert f(3) == 6, '{marker}'\n"
    found: dict[int, set[str]] = {}

    def search_memory() -> None:
        assert eventually(lambda: len(processes_within(temporary)) == 3)
        time.sleep(0.3)
        for process in processes_within(temporary):
            memory = everything_in_memory(process)
            found[process] = {name for name in (marker, "time.sleep(1.5)") if name.encode() in memory}

    searcher = threading.Thread(target=search_memory)
    searcher.start()
    assert verdict(slow_completion, ("def f(x):\n", "    return 2 * x", tests)) is Verdict.PASSED
    searcher.join()
    _, candidate, judge = (found[process] for process in sorted(found))
    assert candidate == {"time.sleep(1.5)"}
    assert marker in judge


def everything_in_memory(process: int) -> bytes:
    pages = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            ends, rights = line.split()[:2]
            begin, end = (int(number, 16) for number in ends.split("-"))
            if rights.startswith("rw"):
                memory.seek(begin)
                try:
                    pages.append(memory.read(end - begin))
                except OSError:
                    continue
    return b"".join(pages)


def test_requests_to_the_candidate_do_not_reveal_expected_values() -> None:
    recording_completion = (
        "    import os\n    seen = open('seen', 'a')\n    seen.write(repr(x) + ' ')\n    return [x] * 3\n"
        "import atexit\n"
    )
    tests = "\nassert f(3) == [3, 3, 3]\nassert open('seen').read() in ('3 ', '')\n"
    assert verdict(recording_completion, ("def f(x):\n", "    return [x] * 3", tests)) is Verdict.PASSED


def test_timeout_is_distinguished_from_failure() -> None:
    limits = Limits(seconds=0.3)
    problem = CodeProblem(*(SOLVED[0], SOLVED[2], SOLVED[1]))
    completions = [
        "    return 2 * x",
        "    return x",
        "    while True: pass",
        "    import time\n    time.sleep(60)",
    ]
    _, (verdicts,) = judge_completions([problem], [completions], limits)
    assert [v.value for v in verdicts] == ["passed", "failed", "timed out", "timed out"]


def test_exercise_that_cannot_be_isolated_runs_in_the_candidate_process() -> None:
    problem = CodeProblem("import math\n", "\n", "assert math.gcd(4, 6) == 2")
    assert problem.modes() == [JudgingMode.CANDIDATE_PROCESS]
    _, ((right, wrong),) = judge_completions([problem], [["assert 1", "assert 0"]], BRIEF)
    assert (right, wrong) == (Verdict.PASSED, Verdict.FAILED)
