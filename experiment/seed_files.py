"""The result files and logs of all seeds of an evaluation."""

from pathlib import Path

from experiment.record import log_name
from experiment.results import LogForm, SeedResults, scores_of


def result_path(args, seed: int) -> Path:
    """Return the path of a seed's result file."""
    return Path(args.results_dir or args.log_dir, f"{log_name(args, seed)}.jsonl")


class SeedFiles:
    """The files of all seeds of an evaluation. Raises UserError as `SeedResults` does."""

    def __init__(self, args, record: dict, form: LogForm):
        self.args, self.record, self.form = args, record, form
        self.open(args.overwrite, echo=len(args.seeds()) == 1)
        self.finished = {seed: set(result.rows) for seed, result in self.results.items()}  # seed -> questions

    def open(self, overwrite=False, echo=False) -> None:
        """Open each seed's files; what is finished is read back."""
        self.results = {}
        for seed in self.args.seeds():
            path, record = result_path(self.args, seed), self.record | {"seed": seed}
            log = Path(self.args.log_dir, f"{path.stem}.log")
            self.results[seed] = SeedResults(path, log, record, self.form, overwrite, echo=echo)

    def todo(self, examples) -> list[tuple[dict, list[int]]]:
        """Return the examples that are not finished for all seeds, each with those seeds."""
        open_seeds = [(e, [s for s in self.results if e["index"] not in self.finished[s]]) for e in examples]
        return [pair for pair in open_seeds if pair[1]]

    def add_missing(self, rows) -> None:
        """Add rows to the files of all seeds that do not have them."""
        for row in rows:
            for seed, result in self.results.items():
                if row["index"] not in self.finished[seed]:
                    result.add(row)

    def add(self, seed: int, row: dict) -> None:
        self.results[seed].add(row)

    def accuracy(self) -> float:
        """Return the accuracy so far in percent."""
        totals = [result.totals for result in self.results.values()]
        return 100 * sum(total.correct for total in totals) / max(1, sum(total.questions for total in totals))

    def finish(self) -> None:
        """Bring the rows into the data's order."""
        if all(list(result.rows) == sorted(result.rows) for result in self.results.values()):
            return
        for result in self.results.values():
            result.close()
        self.open()

    def scores(self, asked) -> dict[int, dict]:
        """Return seed -> accuracy by both rules and average tokens a response, over the question indices `asked`."""
        return {seed: scores_of(result.rows, asked) for seed, result in self.results.items()}
