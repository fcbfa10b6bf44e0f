"""The result files and logs of all seeds of an evaluation, over its processes."""

from pathlib import Path

from experiment.record import log_name
from experiment.results import LogForm, SeedResults, scores_of
from model.processes import decided_by_main


def result_path(args, seed: int) -> Path:
    """Return the path of a seed's result file."""
    return Path(args.results_dir or args.log_dir, f"{log_name(args, seed)}.jsonl")


class SeedFiles:
    """The files of all seeds of an evaluation. Process 0 writes them; each other process writes parts, joined at last.

    Raises UserError as `SeedResults` does.
    """

    def __init__(self, args, record: dict, processes, form: LogForm):
        self.args, self.record, self.processes, self.form = args, record, processes, form
        self.alone = processes.num_processes == 1
        self.finished = decided_by_main(lambda: self.open(args.overwrite, echo=self.alone))  # seed -> questions
        if not processes.is_main_process:
            self.open(overwrite=True, ending=f".part-{processes.process_index}")

    def open(self, overwrite=False, echo=False, ending="") -> dict[int, set[int]]:
        """Open each seed's files and return its finished questions."""
        args, self.results = self.args, {}
        for seed in args.seeds():
            path = result_path(args, seed)
            self.results[seed] = SeedResults(
                path.with_name(path.name + ending),
                None if ending else Path(args.log_dir, f"{path.stem}.log"),
                self.record | {"seed": seed},
                self.form,
                overwrite,
                echo=echo and len(args.seeds()) == 1,
            )
        return {seed: set(result.rows) for seed, result in self.results.items()}

    def todo(self, examples) -> list[tuple[dict, list[int]]]:
        """Return this process's share of the examples, each with the seeds that it is not finished for."""
        open_seeds = [(e, [s for s in self.results if e["index"] not in self.finished[s]]) for e in examples]
        return [pair for pair in open_seeds if pair[1]][self.processes.process_index :: self.processes.num_processes]

    def add_missing(self, rows) -> None:
        """Add rows to the files of all seeds that do not have them."""
        for row in rows if self.processes.is_main_process else ():
            for seed, result in self.results.items():
                if row["index"] not in self.finished[seed]:
                    result.add(row)

    def add(self, seed: int, row: dict) -> None:
        self.results[seed].add(row)

    def accuracy(self) -> float:
        """Return the accuracy so far in percent, of this process's rows."""
        totals = [result.totals for result in self.results.values()]
        return 100 * sum(total.correct for total in totals) / max(1, sum(total.questions for total in totals))

    def finish(self) -> None:
        """Bring all rows into the files of process 0, in the data's order."""
        if self.alone and all(list(result.rows) == sorted(result.rows) for result in self.results.values()):
            return
        for result in self.results.values():
            result.close()
        self.processes.wait_for_everyone()
        if self.processes.is_main_process:
            self.open(echo=not self.alone)

    def scores(self, asked) -> dict[int, dict]:
        """Return seed -> accuracy by both rules and average tokens a response, over the question indices `asked`."""
        return {seed: scores_of(result.rows, asked) for seed, result in self.results.items()}
