"""The peer on a GPU: the same weights in PyTorch, by transformers, plain and with its ways of speculating.

    gpu_peer.py --model DIR --device cuda --out FILE.jsonl [--demo DIR] [--quick]

One JSON object a line, written as it is measured. `--demo` is a small model of the same vocabulary: the assistant.
"""

import argparse
import json
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--demo")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    import torch
    import transformers

    torch.manual_seed(0)
    model = load(transformers, torch, options.model, options.device)
    tokens = 16 if options.quick else 128
    with open(options.out, "w") as out:

        def say(**result):
            out.write(json.dumps(result) + "\n")
            out.flush()

        say(name="versions", torch=torch.__version__, transformers=transformers.__version__)
        for rows in [1, 4, 8, 16, 32, 64]:
            say(name="forward", rows=rows, ms=forward_ms(torch, model, rows, options.quick))
        prompt = torch.arange(64, device=options.device)[None] * 37 % model.config.vocab_size
        ways = {"generate": {}, "prompt lookup": {"prompt_lookup_num_tokens": 10}}
        if options.demo and options.demo != options.model:
            assistant = load(transformers, torch, options.demo, options.device)
            if assistant.config.vocab_size == model.config.vocab_size:
                ways["assisted"] = {"assistant_model": assistant}
        for name, way in ways.items():
            say(name=name, **generated(torch, model, prompt, tokens, way))
        if not options.quick:
            try:
                model.generation_config.cache_implementation = "static"
                model.forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
                generated(torch, model, prompt, tokens, {})
                say(name="compiled generate", **generated(torch, model, prompt, tokens, {}))
            except Exception as error:  # whatever a compiler may throw: the other figures stand
                say(name="compiled generate", error=str(error)[:300])


def load(transformers, torch, folder, device):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return model.to(device).eval()


def synchronize(torch, device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def forward_ms(torch, model, rows, quick):
    """Median of forwards of some rows after 256 positions, whose cache is cut back each time."""
    device, past = model.device, 16 if quick else 256
    ids = torch.arange(past + rows, device=device)[None] * 37 % model.config.vocab_size
    times = []
    with torch.inference_mode():
        cache = model(ids[:, :past], use_cache=True).past_key_values
        for _ in range(3 if quick else 20):
            synchronize(torch, device)
            start = time.perf_counter()
            model(ids[:, past:], past_key_values=cache, use_cache=True)
            synchronize(torch, device)
            times.append(time.perf_counter() - start)
            cache.crop(past)
    return sorted(times)[len(times) // 2] * 1e3


def generated(torch, model, prompt, tokens, way):
    """Tokens per second of one greedy answer of a fixed length, the second time."""
    settings = dict(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **way)
    for _ in range(2):
        synchronize(torch, model.device)
        start = time.perf_counter()
        with torch.inference_mode():
            answer = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
        synchronize(torch, model.device)
        seconds = time.perf_counter() - start
    count = answer.shape[1] - prompt.shape[1]
    return {"tokens": count, "seconds": seconds, "tokens_per_s": count / seconds}


if __name__ == "__main__":
    main()
