"""A notebook with a real kernel: the cells of the page, and what a user gets wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parent.parent.parent / "docs/how-to/notebooks.md"
CELL = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs cells in one kernel, whose folder has the files that the page writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nbformat = pytest.importorskip("nbformat")
        client = pytest.importorskip("nbclient").NotebookClient
        notebook = nbformat.v4.new_notebook()
        folder = str(tmp_path_factory.mktemp("notebook"))
        made = client(notebook, timeout=60, resources={"metadata": {"path": folder}}, kernel_name="python3")

        def run(source: str) -> tuple[dict[str, Any], str]:
            """The data of the last output by type, and the text of all."""
            notebook.cells.append(cell := nbformat.v4.new_code_cell(source))
            made.execute_cell(cell, len(notebook.cells) - 1)
            shown = [output.get("data", {}) for output in cell.outputs]
            text = "".join(output.get("text", "") for output in cell.outputs)
            return (shown[-1] if shown else {}), text

        with made.setup_kernel():
            yield run


@pytest.fixture(scope="module")
def told(kernel: Any) -> list[tuple[dict[str, Any], str]]:
    """What each cell of the page has shown, up to the one that ends the worker."""
    return [kernel(cell) for cell in CELL.findall(PAGE.read_text())[:-1]]


def test_the_cells_of_the_page_run(told: list[tuple[dict[str, Any], str]]) -> None:
    _, _, shows, awaited, gathered, completed, failed, double = told
    html = shows[0]["text/html"]
    assert "<b>tasks.count</b>" in html
    assert "longboat jobs show" in html
    assert awaited[0]["text/plain"] == "5"
    assert gathered[0]["text/plain"] == "[1, 2, 3]"
    assert sorted(line.split()[1] for line in completed[1].splitlines()) == ["1", "2", "3"]
    assert failed[1] == "ValueError no words\n"
    assert double[0]["text/plain"] == "42"


@pytest.mark.usefixtures("told")
def test_a_handle_shows_its_state_in_a_later_cell(kernel: Any) -> None:
    html = kernel("job")[0]["text/html"]
    assert "<b>succeeded</b>" in html
    assert "<code>5</code>" in html


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("count.enqueue('a').result()", "`await` the job instead (any cell of a notebook can)"),
        ("@app.task\ndef mine() -> None: ...", "%%writefile tasks.py"),
        ("def plain() -> None: ...\napp.enqueue(plain)", "%%writefile tasks.py"),
    ],
    ids=["result()", "a task in a cell", "a function in a cell"],
)
def test_what_cannot_be_says_what_to_do(kernel: Any, cell: str, says: str) -> None:
    wrapped = f"try:\n{re.sub('^', '    ', cell, flags=re.M)}\nexcept Exception as error: print(type(error).__name__, error)"
    assert says in kernel(wrapped)[1]
