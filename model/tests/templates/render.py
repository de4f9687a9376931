"""Writes the expected texts beside the templates, as transformers would render them: `pip install jinja2`, `python render.py`."""
import json
from pathlib import Path

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).parent
TOKENS = {
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "qwen2.5": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "zephyr": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"},
    "demo": {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"},
}


def raise_exception(message):
    raise ValueError(message)


def source(name):
    if name == "demo":
        return json.loads((HERE / "../../demo/tokenizer_config.json").read_text())["chat_template"]
    return (HERE / f"{name}.jinja").read_bytes().decode()


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
environment.globals["raise_exception"] = raise_exception
chat = json.loads((HERE / "chat.json").read_text())
for name, tokens in TOKENS.items():
    for system in (True, False):
        messages = chat if system else chat[1:]
        try:
            text = environment.from_string(source(name)).render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **tokens
            )
        except ValueError:
            continue
        (HERE / f"{name}{'.system' if system else ''}.txt").write_bytes(text.encode())
