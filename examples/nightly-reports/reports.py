"""A report each night: the branches' sales are added up in parallel, then one job writes the report.

Any number of workers may run: each night makes one flow. If none ran at two o'clock, the first one that starts makes
up for it.
"""

import csv
from datetime import date, timedelta
from pathlib import Path

from longboat import Longboat, chord

app = Longboat()
SALES = Path("sales")
REPORTS = Path("reports")


@app.task(retries=5, backoff="1m")
def add_up(branch: str) -> tuple[str, float]:
    with (SALES / f"{branch}.csv").open(newline="") as rows:
        return branch, sum(float(row["amount"]) for row in csv.DictReader(rows))


@app.task
def write(totals: list[tuple[str, float]], night: date) -> Path:
    REPORTS.mkdir(exist_ok=True)
    report = REPORTS / f"{night}.txt"
    lines = [f"{branch:10}{amount:10.2f}" for branch, amount in sorted(totals)]
    report.write_text("\n".join([*lines, f"{'all':10}{sum(amount for _, amount in totals):10.2f}"]) + "\n")
    return report


@app.schedule("0 2 * * *", tz="Europe/Berlin", missed="once")
@app.task
def nightly() -> None:
    branches = sorted(path.stem for path in SALES.glob("*.csv"))
    yesterday = date.today() - timedelta(days=1)
    chord([add_up.s(branch) for branch in branches], write, night=yesterday).enqueue()
