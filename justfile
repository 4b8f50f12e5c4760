# The verbs of the project; `just` lists them. Each also works without just, by its one line.

set positional-arguments

_list:
    @just --list

# make the environment
setup:
    python3 -m pip install -q uv
    python3 -m uv sync

# lint, types and floors
check:
    python3 -m uv run ruff check
    python3 -m uv run ruff format --check
    python3 -m uv run mypy
    python3 -m uv run pyright
    python3 -m uv run lint-imports

# the tests; arguments go to pytest
test *args:
    python3 -m uv run pytest "$@"

# the laws, with many more examples than usual
laws rounds="20":
    FLOWSTONE_TEST_ROUNDS={{rounds}} python3 -m uv run pytest tests/laws tests/machines

# killed at every step, many times over
crash rounds="20":
    FLOWSTONE_TEST_ROUNDS={{rounds}} python3 -m uv run pytest tests/crash tests/races

# the speed budget: medians, and ratios to the floor of the same run
bench *args:
    python3 -m uv run python -m benchmarks "$@"

# what CI runs
ci:
    bash .ci/run

# the documentation, checked and built into site/
docs:
    python3 -m uv run --group docs mkdocs build --strict

# write down the versions everything is tested with, without the addresses of a registry
pin:
    python3 -m uv export -q --format requirements-txt --no-hashes --no-emit-project --no-header --no-annotate --all-groups -o requirements.txt
