"""Only flowstone's own decorators are left out, and they always are."""

from __future__ import annotations

import pytest

from flowstone.fingerprints import source_fingerprint


@pytest.fixture
def shown(project):
    def show(text: str, name: str = "step") -> str:
        project.write("job.py", text)
        module = project.load("job")
        fn = getattr(module, name)
        return source_fingerprint(getattr(fn, "fn", fn)).parts[0].text

    return show


SPELLINGS = [
    "from flowstone import task\n@task\n",
    "from flowstone import task\n@task()\n",
    "from flowstone import task as t\n@t(retries=1)\n",
    "from flowstone import flow as task\n@task(name='x')\n",
    "import flowstone\n@flowstone.task(retries=1)\n",
    "import flowstone as fs\n@fs.tasks.task(retries=1)\n",
    "import flowstone.tasks\n@flowstone.tasks.task\n",
    "from flowstone.tasks import task\n@task\n",
    "from flowstone import *\n@task(retries=1)\n",
    "import functools, flowstone\nmine = functools.partial(flowstone.task, retries=2)\n@mine\n",
    "import functools, flowstone\nmine = functools.partial(flowstone.task, retries=2)\n@mine(tags=['a'])\n",
    "import flowstone\nmine = flowstone.task\n@mine\n",
    "import flowstone\nclass Box:\n    pass\nimport flowstone as Box\n@Box.task\n",
    "from flowstone import task\nfirst = task(len)\n@first.on_rollback\n",
]


@pytest.mark.parametrize("head", SPELLINGS)
def test_however_it_is_spelled(shown, head):
    assert shown(f"{head}def step(x):\n    return x\n") == "def step(x):\n    return x"


OTHERS = [
    "def task(fn):\n    return fn\n@task\n",
    "from flowstone import task\ndef task(fn):\n    return fn\n@task\n",
    "from functools import cache as task\ntask = lambda fn: fn\n@task\n",
    "class tools:\n    task = staticmethod(lambda fn: fn)\n@tools.task\n",
    "import flowstone\ndef mine(fn):\n    return fn\n@mine\n",
    "table = {'task': lambda fn: fn}\n@table['task']\n",
    "@(lambda fn: fn)\n",
]


@pytest.mark.parametrize("head", OTHERS)
def test_others_are_kept(shown, head):
    assert shown(f"{head}def step(x):\n    return x\n").startswith("@")


@pytest.mark.parametrize(
    "after",
    [
        "for task in range(3):\n    pass\n",
        "task = None\n",
        "del task\n",
        "def task():\n    pass\n",
        "import json as task\n",
    ],
)
def test_what_the_name_means_later_is_no_matter(shown, after):
    text = f"from flowstone import task\n@task(retries=1)\ndef step(x):\n    return x\n{after}"
    assert shown(text) == "def step(x):\n    return x"


def test_an_import_inside_a_function_counts_there(shown):
    text = """
    def make():
        from flowstone import task as t
        @t(retries=1)
        def step(x):
            return x
        return step
    step = make()
    """
    assert shown(text) == "def step(x):\n    return x"


def test_the_innermost_binding_decides(shown):
    text = """
    from flowstone import task
    def make(task):
        if True:
            task = lambda fn: fn
        @task
        def step(x):
            return x
        return step
    step, task = make(1), None
    """
    assert shown(text) == "@task\ndef step(x):\n    return x"
