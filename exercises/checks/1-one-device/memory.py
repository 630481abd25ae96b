"""Checks of the exercises on memory. Two run an answer and watch the allocator."""

from types import SimpleNamespace

import torch

from scaleup import measure
from scaleup.exercises import NotYet, code, formula, rules, says, slip, values
from scaleup.model import GPT, GPTConfig, next_token_loss

values(
    "bytes", (16, 14, 12),
    {(16, 16, 12): "the second is with its gradients. In the forward pass zero_grad has given them back",
     (12, 14, 12): "the first is without gradients. The update needs them: 4 bytes more",
     (12, 12, 12): "the first lacks its gradients, and the second its bf16 weights of 2 bytes",
     (16, 12, 12): "the second keeps its bf16 weights, 2 bytes, beside the master copy",
     (16, 10, 12): "the second has a master copy of 4 bytes beside its bf16 weights",
     (16, 18, 12): "the second is with gradients, and in fp32. In the forward pass there are none",
     (16, 14, 16): "SGD with momentum keeps one mean, and AdamW two",
     (16, 14, 8): "the third lacks the momentum: one number per parameter beside parameter and gradient",
     (8, 14, 12): "the first lacks the optimizer: AdamW keeps two means of 4 bytes"},
    ask="give three numbers: (first, second, third), in bytes per parameter",
    otherwise=slip(lambda given: True,
                   "add up, item by item: weights, gradients where there are any, master copy, means",
                   (4, 2, 4), (16, 14, 10)),
    hint="An fp32 number has 4 bytes, a bf16 number 2. Which items exist at that moment?",
    done="16 in fp32, 14 between the updates of mixed precision, 12 for SGD with momentum")  # fmt: skip

ENDS, LAYER = "3 * dim + vocab", "10 * dim + 4 * hidden"
T = "windows * seq"
formula(
    "activations", "activations(layers, dim, hidden, vocab, windows, seq)",
    f"4 * {T} * (layers * ({LAYER}) + {ENDS})",
    [(4, 128, 384, 4096, 8, 128), (3, 96, 200, 700, 5, 50)],
    {f"{T} * (layers * ({LAYER}) + {ENDS})": "these are numbers. In fp32 each has 4 bytes",
     f"2 * {T} * (layers * ({LAYER}) + {ENDS})": "a number in fp32 has 4 bytes, not 2",
     f"4 * seq * (layers * ({LAYER}) + {ENDS})": "this is one window. A batch has several",
     f"4 * windows * (layers * ({LAYER}) + {ENDS})": "this is one token of each window: seq is missing",
     f"4 * {T} * seq * (layers * ({LAYER}) + {ENDS})": "seq comes once: the fused attention keeps no scores",
     f"4 * {T} * ({LAYER} + {ENDS})": "this is one layer. Every layer keeps as much",
     f"4 * {T} * layers * ({LAYER} + {ENDS})":
         "the last norm and the loss come once, not once per layer",
     f"4 * {T} * layers * ({LAYER})": "the last norm and the loss are missing: 3 dim + vocab per token",
     f"4 * {T} * (layers * ({LAYER}) + 3 * dim)": "the loss is missing: one probability per word and token",
     f"4 * {T} * (layers * ({LAYER}) + vocab)": "the last norm is missing: 3 dim per token",
     f"4 * {T} * (layers * (8 * dim + 4 * hidden) + {ENDS})":
         "a norm keeps 3 dim on this CPU: input, normalised copy, and what it hands on",
     f"4 * {T} * (layers * (7 * dim + 4 * hidden) + {ENDS})": "a layer has two norms, of 3 dim each",
     f"4 * {T} * (layers * (6 * dim + 4 * hidden) + {ENDS})":
         "attention is missing: queries, keys, values, and what it mixed",
     f"4 * {T} * (layers * (10 * dim + 3 * hidden) + {ENDS})":
         "the MLP keeps 4 hidden: gate, up, silu(gate) and their product",
     f"4 * {T} * (layers * (10 * dim + hidden) + {ENDS})":
         "the MLP keeps 4 hidden: gate, up, silu(gate) and their product",
     f"4 * {T} * (layers * (4 * dim**2 + 3 * dim * hidden) + {ENDS})":
         "these are a layer's parameters. It keeps the inputs of its operators: 10 dim + 4 hidden per token"},
    within=1e-3,
    otherwise=lambda off: f"for {off.row} the right number is {off.want / 1e6:.2f} MB, "
                          f"yours is {off.got / 1e6:.2f} MB",
    hint="Two norms, attention and MLP in every layer; once the last norm and the loss.",
    done="64 MB for 8 windows of 128 tokens of the smallest model",
    also=[says("def activations(layers, dim, hidden, vocab, windows, seq):\n    return 1e6 * layers",
               "for (4, 128, 384, 4096, 8, 128) the right number is 64.49 MB, yours is 4.00 MB")],
)  # fmt: skip

values(
    "windows", 11,
    {12: "12 windows need 64.9 GB, and there are 64 × 10⁹ bytes: round down, and do not count in GiB",
     13: "the loss is missing: the logits exist a second time, 4 bytes per word and token",
     10: "12 bytes per parameter, since there are no gradients yet, and the logits once: the probabilities "
         "are in the 3.6 MB",
     15: "the states are missing: 12 bytes per parameter",
     14: "these are the parameters alone. The optimizer's means are there, too",
     11 * 1024: "this is tokens. A window has 1,024 of them"},
    within=1e-3,
    ask="give one whole number, the windows of one batch",
    otherwise=slip(lambda given: True,
                   "take 12 bytes per parameter from 64 GB, and divide by what one window of 1,024 tokens "
                   "needs: activations and logits",
                   5, 11.78, 100),
    hint="What do 12 bytes per parameter leave of the device? What does a window add to its activations?",
    done="11 windows: 14.4 GB of states and 46.3 GB that grow with the batch")  # fmt: skip

SHAPE = GPTConfig(vocab_size=512, layers=6, heads=4, dim=128, hidden=384, context=128)
LIMIT, WINDOWS = 60, 16  # MB


def gradients(model):
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def same(left, right, times=1.0):
    return all(
        torch.allclose(a, times * b, rtol=1e-3, atol=1e-6 * max(1, times))
        for a, b in zip(left, right, strict=True)
    )


def fresh():
    torch.manual_seed(5)
    return GPT(SHAPE)


def of(inputs, targets):
    model = fresh()
    next_token_loss(model(inputs), targets).backward()
    return gradients(model)


def fitted(answer):
    """What an answer did that has to leave the gradients of the mean loss in the model."""
    torch.manual_seed(6)
    text = torch.randint(0, SHAPE.vocab_size, (WINDOWS, 129))
    inputs, targets = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    seen = SimpleNamespace(calls=[])
    with measure.watch() as use:
        model = fresh()
        model.embedding.register_forward_pre_hook(lambda _, given: seen.calls.append(len(given[0])))
        answer(model, inputs, targets)
    seen.peak = use.peak() / 1e6
    found, whole = gradients(model), of(inputs, targets)
    pairs = zip(model.parameters(), fresh().parameters(), strict=True)
    seen.moved = not all(torch.equal(after, before) for after, before in pairs)
    seen.none = any(each is None for each in found)
    seen.right = not seen.none and same(found, whole)
    seen.times = seen.few = 0
    seen.part = ""
    if not seen.none and not seen.right:
        seen.times = next((m for m in (2, 4, 8, 16) if same(found, whole, m)), 0)
        seen.few = next((m for m in (2, 4, 8, 16) if same(found, whole, 1 / m)), 0)
        size = seen.calls[0] if seen.calls else WINDOWS
        for words, place in (("first", 0), ("last", -1)):
            part = of(inputs.split(size)[place], targets.split(size)[place])
            if same(found, part) or same(found, part, size / WINDOWS):
                seen.part = words
    return seen


def running(answer):
    try:
        return fitted(answer)
    except RuntimeError as error:
        if "does not require grad" in str(error):
            raise NotYet("the loss has no graph: without gradients there is nothing to train with") from None
        if "second time" in str(error):
            raise NotYet(
                "backward was called twice on one loss. Make a new forward pass for each piece"
            ) from None
        raise


def loop(body, pieces=4):
    return (
        "from functools import partial\n"
        "import torch\n"
        "from torch.utils.checkpoint import checkpoint\n"
        "from scaleup.model import next_token_loss\n"
        "def fit(model, inputs, targets):\n"
        f"    pieces, total = {pieces}, 0\n"
        "    for x, y in zip(inputs.chunk(pieces), targets.chunk(pieces)):\n"
        f"        {body}"
    )


def whole(body):
    head, _, _ = loop("", 1).partition("    pieces,")
    return f"{head}    {body}"


LOSS = "loss = next_token_loss(model(inputs), targets)"
PLAIN = f"{LOSS}\n    loss.backward()"
WRAP = "block.forward = partial(checkpoint, block.forward, use_reentrant=False)"
ALSO = [
    says(whole(f"with torch.no_grad():\n        {LOSS}\n    loss.backward()"),
         "the loss has no graph: without gradients there is nothing to train with"),
    says(whole(f"{LOSS}\n    loss.backward()\n    loss.backward()"),
         "backward was called twice on one loss. Make a new forward pass for each piece"),
]  # fmt: skip


def common(other):
    """Slips that both ways share; `other` is an answer that leaves no gradients."""
    return [
        slip(lambda seen: seen.moved,
             "the parameters were changed. Leave the update out: the check looks at the gradients",
             whole(f"{PLAIN}\n    torch.optim.SGD(model.parameters(), lr=0.1).step()")),
        slip(lambda seen: seen.none,
             "some parameters have no gradient: backward is missing, or the gradients were cleared",
             other, whole(f"{PLAIN}\n    model.zero_grad()")),
    ]  # fmt: skip


rules(
    "accumulate", running,
    [*common(loop("loss = next_token_loss(model(x), y) / pieces")),
     slip(lambda seen: seen.times,
          "the gradients are {times} times too large: divide each loss by the number of pieces",
          says(loop("next_token_loss(model(x), y).backward()"), times=4),
          says(loop("next_token_loss(model(x), y).backward()", 2), times=2)),
     slip(lambda seen: seen.few,
          "the gradients are {few} times too small: divide each loss by the number of pieces, once",
          says(loop("(next_token_loss(model(x), y) / pieces / pieces).backward()"), few=4),
          says(loop("(next_token_loss(model(x), y) / len(inputs)).backward()"), few=4)),
     slip(lambda seen: seen.part == "last",
          "only the last piece is left: something clears the gradients in every round",
          loop("model.zero_grad(); (next_token_loss(model(x), y) / pieces).backward()")),
     slip(lambda seen: seen.part == "first",
          "only the first piece was used. The whole batch counts",
          loop("(next_token_loss(model(x), y)).backward(); break")),
     slip(lambda seen: not seen.right and len(seen.calls) > 1 and min(seen.calls) == WINDOWS,
          "the windows were cut across: tokens no longer see those before them. Cut along dimension 0",
          whole("for x, y in zip(inputs.chunk(4, 1), targets.chunk(4, 1)):\n"
                "        (next_token_loss(model(x), y) / 4).backward()")),
     slip(lambda seen: not seen.right and len(set(seen.calls)) > 1,
          "the pieces are unequal, so their means do not count alike: cut 16 windows into equal pieces",
          loop("(next_token_loss(model(x), y) / pieces).backward()", 3)),
     slip(lambda seen: not seen.right,
          "the gradients are not those of the mean loss over all 16 windows",
          loop("(next_token_loss(model(x), y) / 3).backward()")),
     slip(lambda seen: seen.peak > 140,
          "all activations exist at once, {peak:.0f} MB: call backward for every piece, so that it frees "
          "its own",
          says(loop("total = total + next_token_loss(model(x), y) / pieces\n    total.backward()", 8),
               peak=153),
          says(whole(PLAIN), peak=156)),
     slip(lambda seen: seen.peak > LIMIT,
          f"{{peak:.0f}} MB of {LIMIT}: cut the batch into more pieces",
          says(loop("(next_token_loss(model(x), y) / pieces).backward()", 2), peak=86)),
     slip(lambda seen: len(seen.calls) == 1 or max(seen.calls) == WINDOWS,
          "it fits, but by recompute. That is the next exercise: here cut the batch into pieces",
          whole(f"for block in model.blocks:\n        {WRAP}\n    {PLAIN}"))],
    needs="fit", example=code, hint="A loop over chunks; loss / pieces; backward inside the loop.",
    done=lambda seen: f"{seen.peak:.0f} MB of {LIMIT}, and the gradients are those of the whole batch",
    limit=180, also=ALSO)  # fmt: skip

rules(
    "recompute", running,
    [*common(whole(LOSS)),
     slip(lambda seen: max(seen.calls, default=0) < WINDOWS,
          "the batch was cut into pieces. This time it stays whole: recompute the layers",
          loop("(next_token_loss(model(x), y) / pieces).backward()")),
     slip(lambda seen: not seen.right,
          "the gradients are not those of the mean loss over all 16 windows",
          whole("(2 * next_token_loss(model(inputs), targets)).backward()")),
     slip(lambda seen: seen.peak > LIMIT and len(seen.calls) > 1,
          "one checkpoint around the whole model brings everything back at once: {peak:.0f} MB. Make one for "
          "each block",
          says(whole("logits = checkpoint(model, inputs, use_reentrant=False)\n"
                     "    next_token_loss(logits, targets).backward()"), peak=157)),
     slip(lambda seen: seen.peak > 140,
          "{peak:.0f} MB: nothing is recomputed yet. Wrap every block's forward",
          says(whole(PLAIN), peak=156)),
     slip(lambda seen: seen.peak > LIMIT,
          f"{{peak:.0f}} MB of {LIMIT}: some blocks still keep everything. Wrap all six",
          says(whole(f"for block in model.blocks[:3]:\n        {WRAP}\n    {PLAIN}"), peak=90))],
    needs="fit", example=code, hint="block.forward = partial(checkpoint, block.forward, use_reentrant=False)",
    done=lambda seen: f"{seen.peak:.0f} MB of {LIMIT} with the whole batch, and the gradients are equal",
    limit=180, also=ALSO)  # fmt: skip
