"""Run lm-evaluation-harness on SoftCoT: its own command line, with the model `softcot`.

    python lm_eval_softcot.py --model softcot --tasks gsm8k_platinum_cot_zeroshot --apply_chat_template \\
        --model_args base_model_id=ID,assistant_model_id=ID,params_file_name=FILE,num_thought_tokens=4 \\
        --batch_size 64 --log_samples --output_path DIR

--model_args are options of evaluate_softcot.py; with num_scaling_times=N those of evaluate_softcotpp.py.
"""

import functools
import importlib.util

from utils import UserError, run_main


def check_prompts():
    """Raise UserError if the command line asks for prompts without turns, or for one response of all chains."""
    from lm_eval._cli import HarnessCLI
    from lm_eval.config.evaluate_config import EvaluatorConfig

    args = HarnessCLI().parse_args()
    config = EvaluatorConfig.from_cli(args) if args.command == "run" else None
    if config is None or config.model != "softcot":
        return
    if config.apply_chat_template is not True or not config.fewshot_as_multiturn or config.cache_requests:
        raise UserError("give --apply_chat_template alone; leave out --fewshot_as_multiturn and --cache_requests")
    if config.use_cache and "num_scaling_times" in config.model_args:
        raise UserError("leave out --use_cache: it keeps one response a prompt, not one a chain")


@functools.cache
def register():
    """Register the model `softcot` with lm-eval, once a process."""
    import lm_eval.models  # noqa: F401 - lm-eval registers its own models only into an empty registry
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model

    from experiment.harness import HarnessModel

    register_model("softcot")(type("SoftCoTModel", (HarnessModel, LM), {}))


def main():
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError("lm-eval is not installed: pip install -r requirements-lm-eval.txt, or make setup-lm-eval")
    from lm_eval.__main__ import cli_evaluate

    check_prompts()
    register()
    cli_evaluate()


if __name__ == "__main__":
    run_main(main, on_memory="a smaller --batch_size needs less memory")
