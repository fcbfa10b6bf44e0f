"""Ask one question: the answer without soft thoughts, then with them, as it is written; what the thoughts look like.

    python ask.py "A box has 3 bags of 4 red balls. How many red balls are in 5 boxes?" --params_file_name FILE

FILE is the projection.bin that training wrote (`make demo`: results/demo/ckpt/<run>/projection.bin). Models, task,
prompts, L, chains and dtype are those of its training, by the run.json beside it. In Python:

    from ask import load_softcot

    model = load_softcot("embedded/SmolLM2-135M-Instruct", "embedded/SmolLM2-135M-Instruct", "FILE")
    texts, answers, vote = model.answer("A box has 3 bags of 4 red balls. How many red balls are in 5 boxes?")
"""

from experiment.arguments import Ask, Parser
from utils import run_main, write_json

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    run_main(Parser(Ask, __doc__).parse_args)  # which reads files

from pathlib import Path

from experiment.asking import SoftCoTModel
from experiment.loading import quiet_libraries
from experiment.thoughts import describe, draw, show

ADVICE = {"on_memory": "--quantization of the base model needs less memory"}


def load_softcot(base: str | None, assistant: str | None, projection: str, **options) -> SoftCoTModel:
    """Return a model to ask. base, assistant: None for those of training; options: those of ask.py, by name."""
    given = {"base_model_id": base, "assistant_model_id": assistant, "params_file_name": projection, **options}
    args = Ask(**Ask.implied({name: value for name, value in given.items() if value is not None}))
    args.check()
    quiet_libraries()
    return SoftCoTModel(args)


def ask(model, question):
    """Print the responses without soft thoughts and with them, each chain's, then the answers read from them."""
    plain, soft = model.requests(question, thoughts=False), model.requests(question)
    titles = ["without soft thoughts"] * len(plain) + [title_of(model, *request.key[2:]) for request in soft]
    texts = []
    for row, piece, text in model.stream(plain + soft):
        if titles[row]:
            print(f"--- {titles[row]} ---")
            titles[row] = None
        print(piece, end="", flush=True)
        if text is not None:
            texts.append(text)
            print("\n")
    for name, found in (("without", model.read(texts[: len(plain)])), ("with", model.read(texts[len(plain) :]))):
        votes = f" (vote of {', '.join(map(str, found.answers))})" if len(found.answers) > 1 else ""
        print(f"Answer {name} soft thoughts: {found.vote}{votes}")


def title_of(model, chain, sample):
    """Return the title of a response with soft thoughts."""
    title = "with soft thoughts"
    title += f", chain {chain + 1} of {model.method.chains}" if model.method.chains > 1 else ""
    return title + (f", sample {sample + 1}" if model.args.num_return_sequences > 1 else "")


def show_thoughts(args, model):
    """Print nearest tokens, norms and similarities; draw and write them if the options name files."""
    (soft,) = model.method.slot.fill([model.example(args.question)], model.method.collate)
    found, norms = describe(model.method.base, soft.float(), args.top)
    show(found)
    if args.picture:
        draw(found, norms, args.picture)
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        write_json({"question": args.question, "projection": args.params_file_name, **found}, args.json)


def main():
    args = Parser(Ask, __doc__).parse_args()
    quiet_libraries()
    model = SoftCoTModel(args)
    ask(model, args.question)
    if args.show_thoughts:
        show_thoughts(args, model)


if __name__ == "__main__":
    run_main(main, **ADVICE)
