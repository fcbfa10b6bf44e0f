"""Ask one question: the answer without soft thoughts, then with them, as it is written; what the thoughts look like.

    python ask.py "A box has 3 bags of 4 red balls. How many red balls are in 5 boxes?" --params_file_name FILE

FILE is the projection.bin that training wrote (`make demo`: results/demo/ckpt/<run>/projection.bin). Models, task,
prompts, L, chains and dtype are those of its training, by the run.json beside it. In Python:

    from ask import load_softcot

    model = load_softcot("embedded/SmolLM2-135M-Instruct", "embedded/SmolLM2-135M-Instruct", "FILE")
    texts, answers, vote = model.answer("A box has 3 bags of 4 red balls. How many red balls are in 5 boxes?")
"""

from experiment.options import Ask, Parser, naming
from utils import run_main

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    run_main(Parser(Ask, __doc__).parse_args)  # which reads files

import dataclasses

from data_loader.tasks import get_task
from experiment.asking import SoftCoTModel
from experiment.responses import local_engine
from experiment.setup import Method, load_method, make_encoder, quiet_libraries, sampling_of
from experiment.thoughts import describe, draw, show
from model.weights import load_projection

ROWS = 64  # that are written together
NEAREST = 5  # tokens of each thought
ADVICE = {"on_memory": "--quantization of the base model needs less memory"}


def load_softcot(base: str | None, assistant: str | None, projection: str, **options) -> SoftCoTModel:
    """Return a model to ask. base, assistant: None for those of training; options: those of ask.py, by name."""
    given = {"base_model_id": base, "assistant_model_id": assistant, "params_file_name": projection, **options}
    args = Ask(**Ask.implied({name: value for name, value in given.items() if value is not None}))
    args.check()
    return load_model(args)


def load_model(args) -> SoftCoTModel:
    """Return the models and projection of ask.py's options, loaded once. Models without a slot: zero-shot CoT."""
    quiet_libraries()
    with naming("--params_file_name"):
        state = load_projection(args.params_file_name)
    method = load_method(args, args.chains() or (len(state["embedding"]) if "embedding" in state else None))
    encoder, collate = make_encoder(dataclasses.replace(args, num_thought_tokens=0), method.base, None)
    plain = Method(method.base, None, encoder, collate, None, None, 1, {})
    limit = args.max_new_tokens or get_task(args.task_name).generation_length(method.base.thought_tokens.long_responses)
    engine = local_engine(method.base, ROWS, **sampling_of(args, method.base))
    return SoftCoTModel(method, plain, engine, args.task_name, args.seed, args.num_return_sequences, limit)


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
    return title + (f", sample {sample + 1}" if model.samples > 1 else "")


def show_thoughts(model, question, picture):
    """Print nearest tokens, norms and similarities, and draw them."""
    (soft,) = model.method.slot.fill([model.example(question)], model.method.collate)
    found, norms = describe(model.method.base, soft.float(), NEAREST)
    show(found)
    draw(found, norms, picture)


def main():
    args = Parser(Ask, __doc__).parse_args()
    model = load_model(args)
    ask(model, args.question)
    if args.show_thoughts:
        show_thoughts(model, args.question, args.show_thoughts)


if __name__ == "__main__":
    run_main(main, **ADVICE)
