#!/usr/bin/env python3
"""What transformers makes of a model folder: the reference for our logits and answers.

    build/venv-reference/bin/python tests/parity/reference.py MODEL TEXTS.json ANSWERS.json

TEXTS.json is a list of texts, or of pairs as lists of two; ANSWERS.json gets, for each, the token
ids, the logits, and the answer of pipeline("text-classification") with top_k=None. As a module:
logits() for token ids, answers() for texts. Everything is computed in float32, one text at a time
and without padding, so that nothing but the model is in the numbers.
"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
import transformers  # noqa: E402


def load(folder):
    """The model as the pipeline would load it, widened to float32."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, torch_dtype=torch.float32
    )
    return model.eval()


@torch.no_grad()
def logits(model, sequences):
    """[[logit]] for each (token ids, index of the first token of type 1)."""
    rows = []
    for input_ids, type_start in sequences:
        inputs = {"input_ids": torch.tensor([input_ids])}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if model.config.model_type == "bert":
            types = [int(i >= type_start) for i in range(len(input_ids))]
            inputs["token_type_ids"] = torch.tensor([types])
        rows.append(model(**inputs).logits[0].tolist())
    return rows


def answers(folder, texts, **arguments):
    """The pipeline's answers, one text at a time; `arguments` are those of its call (top_k,
    function_to_apply). Texts longer than the model are cut, as weir cuts them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = load(folder)
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    length = model.config.max_position_embeddings
    arguments = {"truncation": True, "max_length": length, **arguments}
    return [pipeline(as_input(text), **arguments) for text in texts]


def as_input(text):
    return text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def explain(folder, texts):
    """[{text, input_ids, logits, answer}]"""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = load(folder)
    rows = []
    for text, answer in zip(texts, answers(folder, texts, top_k=None)):
        parts = [text] if isinstance(text, str) else text
        encoding = tokenizer(
            *parts, truncation=True, max_length=model.config.max_position_embeddings
        )
        input_ids = encoding["input_ids"]
        types = encoding.encodings[0].type_ids
        type_start = types.index(1) if 1 in types else len(input_ids)
        row = logits(model, [(input_ids, type_start)])[0]
        rows.append({"text": text, "input_ids": input_ids, "logits": row, "answer": answer})
    return rows


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    with open(sys.argv[2], encoding="utf-8") as file:
        texts = json.load(file)
    with open(sys.argv[3], "w", encoding="utf-8") as file:
        json.dump(explain(sys.argv[1], texts), file, indent=1)


if __name__ == "__main__":
    main()
