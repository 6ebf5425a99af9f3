"""Every command in a document is run: as a page that runs as a whole, here, or by a test that the table names."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path

import click
import doc_commands
import pytest
from doc_commands import ROOT, Command, Shell, commands, differs, examples, follow, pages, steps

from nullbox.cli.nullctl import cli as nullctl

RUN_ON_A_SYSTEM = ("docs/quickstart.md", "docs/tutorial.md", "docs/operations.md")
"""Pages that tests/net/test_docs.py and tests/boot/test_docs.py follow from top to bottom."""

QUICK_START = "tests/boot/test_docs.py::test_the_quick_start_from_make_run_to_make_stop"
BOOT_MEDIA = "tests/firmware/test_docs.py::test_disks_and_secure_boot"
CLONE = "tests/repo/test_docs_clone.py::test_from_a_clone_to_a_green_test"
HELP = "tests/net/test_docs_examples.py::test_every_example_of_the_help"
HOSTED = "tests/net/test_hosted.py::"

COVERED = {
    "make run": QUICK_START,
    "make run DETACH=1": QUICK_START,
    "make stop": QUICK_START,
    "export PATH=$PWD/build/venv/bin:$PATH NULLD_SOCKET=$PWD/build/run/nulld.sock": QUICK_START,
    "nullbox up": f"{HOSTED}test_without_a_microvm_krun_is_refused_and_names_the_other_driver",
    "nullbox up --driver process --state /tmp/one --agents ./my-agents": (
        f"{HOSTED}test_an_operators_day_and_nothing_left_of_it"
    ),
    "sudo nullbox up": f"{HOSTED}test_without_a_microvm_krun_is_refused_and_names_the_other_driver",
    "sudo nullbox up --driver process --state /srv/dev": f"{HOSTED}test_an_operators_day_and_nothing_left_of_it",
    "nullctl --socket /srv/dev/run/nulld.sock status": f"{HOSTED}test_an_operators_day_and_nothing_left_of_it",
    "make test-fast": CLONE,
    "git clone … && cd nullbox": CLONE,
    "make setup": CLONE,
    "make lint": CLONE,
}
"""Command → the test that runs it."""

FOLLOWED = {"docs/boot-media.md": BOOT_MEDIA}
"""Pages that one test follows from top to bottom."""

THE_SUITE_ITSELF = ("make test", "make test-full", "make crash", "make fuzz")
"""What would run this test: here its recipes run as far as the collection of the tests."""


def shown() -> list[Command]:
    return [command for page in pages() for command in commands(page)]


def test_there_are_commands_to_look_at() -> None:
    assert len(shown()) > 30


@pytest.mark.parametrize("command", shown(), ids=str)
def test_every_command_is_run_by_some_test(command: Command) -> None:
    page = str(command.page.relative_to(ROOT))
    assert (
        (page in RUN_ON_A_SYSTEM and not command.text.startswith(doc_commands.ELSEWHERE))
        or page in FOLLOWED
        or command.text in COVERED
        or command.text in THE_SUITE_ITSELF
        or page in RUN_HERE
        or command.text in RUN_HERE_ALONE
    ), f"{command}: no test runs this; add it to a table of {Path(__file__).name}, with the test that does"


def test_every_example_of_a_help_page_is_run_by_some_test() -> None:
    assert len(examples(ROOT / "docs" / "cli.md", "nullctl")) > 20, f"{HELP} runs them"
    assert set(examples(ROOT / "docs" / "cli-host.md", "nullbox")) <= COVERED.keys()


@pytest.mark.parametrize("node", sorted({HELP, *COVERED.values(), *FOLLOWED.values()}))
def test_the_tests_that_the_table_names_are_there(node: str) -> None:
    path, _, name = node.partition("::")
    names = {item.name for item in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(item, ast.FunctionDef)}
    assert name in names


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_that_a_document_names_is_there() -> None:
    for page in pages():
        for target in re.findall(
            r"(?:^|[`\s])make ([a-z][a-z-]+)(?=[`\s,.:;)]|$)", code_of(page.read_text()), re.MULTILINE
        ):
            assert target in targets(), f"{page.name} names `make {target}`"


def code_of(text: str) -> str:
    """What a document sets as code: blocks of commands, and inline."""
    fenced = [line for block in doc_commands.blocks(text) if block.info in ("sh", "console") for line in block.lines]
    return "\n".join(fenced + re.findall(r"`[^`\n]+`", text))


RUN_HERE = ("docs/contributing/tests.md",)
"""Pages whose commands run on any machine with the virtual environment, in the checkout."""

RUN_HERE_ALONE = {
    "make help",
    "make docs",
    "build/venv/bin/pytest tests/unit/supervision/test_decide.py -q",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(RUN_HERE_ALONE))
def test_commands_that_run_anywhere(command: str) -> None:
    with Shell(ROOT, {}) as shell:
        output, status = shell.run(command, 240)
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("command", THE_SUITE_ITSELF)
def test_recipes_that_run_the_suite_find_their_tests(command: str) -> None:
    """Nothing is built: what they need first counts as there."""
    there = " ".join(f"-o {name}" for name in ("setup", "kernel", "image", "test-image", "iso", "build/venv/bench"))
    with Shell(ROOT, {}) as shell:
        output, status = shell.run(f'{command} {there} PYTEST="build/venv/bin/python -m pytest --collect-only -q"', 240)
    assert status == 0, output
    assert re.search(r"\b[1-9]\d*(?:/\d+)? tests? collected", output), output


# --- nullctl: what is not run is at least understood by it


def parsed(words: list[str]) -> None:
    """Have nullctl's own parser take a command line. Raises click.ClickException."""
    command: click.Command = nullctl
    context = command.make_context("nullctl", list(words), resilient_parsing=False)
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        context = command.make_context(command.name or "", rest, parent=context)


def lines_of_nullctl() -> list[str]:
    """Lines of documents and of --help that begin with nullctl."""
    lines = [
        line.strip() for page in pages() for block in doc_commands.blocks(page.read_text()) for line in block.lines
    ]
    return sorted({line for line in lines if re.match(r"nullctl [a-z-]", line) and "Usage" not in line})


@pytest.mark.parametrize("line", lines_of_nullctl())
def test_examples_of_nullctl_are_understood_by_it(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("researcher", "scout"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "AGENT.toml").write_text(f'[agent]\nname = "{name}"\n')
    (tmp_path / "backup.jsonl").touch()
    for part in re.split(r"\s(?:\||&&|>)\s", line):
        words = shlex.split(part)
        if words[:1] == ["nullctl"]:
            parsed(words[1:])


# --- the reader of documents itself


PAGE = """
# A page

<!-- file: a/b.txt -->
```text
hello
```

```console
$ cat a/b.txt
hello
$ echo 12 pieces in 3m4s, hash 0123456789abcdef; echo second; echo third
7 pieces in 9s, hash fedcba987654
…
```

<!-- exit: 3 -->
```console
$ cd a; VALUE=7
$ pwd; (exit 3)
…/a
```

```sh
test "$VALUE" = 7   # variables stay
```
"""


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def test_a_page_is_followed(tmp_path: Path) -> None:
    with Shell(tmp_path, {}) as shell:
        follow(shell, tmp_path, steps(page(tmp_path, PAGE)), 20)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("hello\n$", "goodbye\n$"), ("exit: 3", "exit: 0"), ("= 7", "= 8"), ("pieces in 9s", "parts in 9s")],
)
def test_a_page_that_is_not_true_fails(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in PAGE
    with Shell(tmp_path, {}) as shell, pytest.raises(AssertionError, match=r"page\.md"):
        follow(shell, tmp_path, steps(page(tmp_path, PAGE.replace(right, wrong, 1))), 20)


def test_a_command_that_does_not_end_is_a_failure(tmp_path: Path) -> None:
    with Shell(tmp_path, {}) as shell, pytest.raises(TimeoutError, match="read"):
        shell.run("read line < <(sleep 30)", 0.2)


@pytest.mark.parametrize(
    ("document", "actual", "same"),
    [
        (["a 1", "b"], "a 22\nb\nc", True),
        (["a 1", "c"], "a 1\nb\nc", False),
        (["a 1", "…", "c"], "a 1\nb\nc", True),
        (["NAME   PID", "x        1"], "NAME PID\nx 123", True),
        (["└─ x 1"], "├─ x 9", True),
        (["ready after 46.4 s"], "ready after 61.0 s", True),
        (["pulse: running"], "pulse: paused", False),
        (["… ends so"], "it ends so", True),
    ],
)
def test_outputs_are_compared_by_shape(document: list[str], actual: str, same: bool) -> None:
    assert (differs(document, actual) is None) is same


def test_the_extras_that_documents_name_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for document in pages():
        for name in re.findall(r"extra `(\w+)`", document.read_text()):
            assert name in extras, f"{document.name} names the extra {name}"
