"""A question is passed on when its last response is there, whatever else is still running."""

import pytest

from experiment.responses import decode_texts, finished_questions
from model.generation import Request
from utils import UserError

TODO = [({"index": 0}, [41, 42]), ({"index": 1}, [42])]


def rows(*keys):
    return [(Request(key, None, None), [key[2], key[3]]) for key in keys]


def test_a_question_does_not_wait_for_a_slower_one():
    generated = iter(rows((42, 1, 1, 0), (42, 0, 0, 0), (42, 1, 0, 0), (41, 0, 0, 0), (42, 0, 1, 0), (41, 0, 1, 0)))
    found = finished_questions(generated, TODO, 2)
    assert next(found) == (42, {"index": 1}, [[0, 0], [1, 0]])
    assert len(list(generated)) == 3  # nothing more was read


def test_missing_responses_are_an_error():
    with pytest.raises(UserError, match="2 questions"):
        list(finished_questions(rows((42, 1, 0, 0)), TODO, 1))


SPACED = "It is 3 .5 , or 4 ? No ! I do n't ' x ' 's 'm 've 're<|im_end|>"


@pytest.mark.parametrize("text", ["It is 3.5, or 4? No! I don't'x''s'm've're<|im_end|>", SPACED])
def test_texts_are_cleaned_up_if_the_tokenizer_says_so_with_every_version_of_transformers(chatml_tokenizer, text):
    tokenizer = chatml_tokenizer
    tokenizer.clean_up_tokenization_spaces = text != SPACED
    ids = tokenizer.encode(SPACED)
    assert decode_texts(tokenizer, [ids], skip_special_tokens=False) == [text]
    assert decode_texts(tokenizer, [ids], skip_special_tokens=True) == [text.removesuffix("<|im_end|>")]
