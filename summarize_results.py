"""Tables and plots from result files (JSON lines), or from logs alone, also those of the published code.

Mean and standard deviation over seeds for each task and method, by the published and by the strict answer rule,
average tokens, the papers' figures beside them, and paired bootstrap intervals between methods. Logs that hold
responses are judged again. What is missing or incomplete is shown as such and never silently averaged.
"""

import argparse
import sys
from pathlib import Path

from data_loader.tasks import TASKS
from experiment.run_files import METHODS
from report.harness import write_harness_files
from report.output import comma_separated, json_text, latex, markdown
from report.plots import plot_summary
from report.runs import read_runs
from report.summary import compare_methods, make_cells, make_table
from utils import replaced, run_main


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )

    def option(name, help, default=None, **more):
        parser.add_argument(name, help=help + (" (default: %(default)s)" if default else ""), default=default, **more)

    option("paths", "result files, logs, or folders of them", ["inference_logs"], nargs="*", metavar="PATH")
    option("--out", "where table.md, .csv, .json, .tex and the plots go", "results/summary", metavar="FOLDER")
    shown = "show these even if all is missing: "
    option("--tasks", shown + ", ".join(TASKS), [], nargs="+", choices=list(TASKS), metavar="TASK")
    option("--methods", shown + ", ".join(METHODS), [], nargs="+", choices=METHODS, metavar="METHOD")
    pair = "paired bootstrap of two methods or labels; may be given again (default: all against zero-shot CoT, each "
    pair += "run under another protocol against its corrected twin, each with a lever against its twin without one)"
    option("--compare", pair, [], nargs=2, action="append", metavar=("A", "B"))
    option("--include_incomplete", "average incomplete runs too, flagged", False, action="store_true")
    option("--lm_eval", "write the result files as lm-evaluation-harness does, into this folder", metavar="FOLDER")
    return parser.parse_args()


def main():
    args = arguments()

    # 1) Result files and logs, each run once
    runs = read_runs(args.paths)

    # 2) The seeds of a task, base model and method are a cell
    cells = make_cells(runs, args.include_incomplete)

    # 3) A row a cell, what is missing too
    table = make_table(cells, args.tasks, args.methods)

    # 4) Paired differences
    comparisons, not_compared = compare_methods(cells, args.compare)

    # 5) Files
    folder, report = Path(args.out), markdown(table, comparisons)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "table.md": report,
        "table.csv": comma_separated(table),
        "table.json": json_text(table, comparisons, not_compared),
        "table.tex": latex(table),
    }
    for name, text in texts.items():
        with replaced(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    missing = plot_summary(table, comparisons, folder)

    print(report)
    for line in (*not_compared, *(f"no {name}: {reason}" for name, reason in missing.items() if reason)):
        print(line, file=sys.stderr)
    written = [*texts, *(name for name, reason in missing.items() if not reason)]
    print(f"Wrote {folder}: {', '.join(written)}")
    if args.lm_eval:
        write_harness_files([run.path for run in runs if run.path.suffix == ".jsonl"], Path(args.lm_eval))


if __name__ == "__main__":
    run_main(main)
