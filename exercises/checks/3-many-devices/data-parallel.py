"""Checks of the exercises on data-parallel training. Those of the first two run on two real ranks."""

import math

from scaleup import ranks
from scaleup.exercises import NotYet, code, edited, exercise, known_wrong, needs_function


def on_two_ranks_average(answer):
    """One rank's view: gradients of 1 and 5 before; what the answer made of them and of the parameters."""
    import torch
    import torch.distributed as dist

    rank, world_size = dist.get_rank(), dist.get_world_size()
    model = torch.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.data.fill_(10.0 * (rank + 1))
        parameter.grad = torch.full_like(parameter, 1.0 + 4 * rank)
    answer(model, world_size)
    return {
        "gradients": sorted({value for p in model.parameters() for value in p.grad.flatten().tolist()}),
        "parameters": [p.data.flatten()[0].item() for p in model.parameters()],
    }


@exercise("average", hint="Two ranks hold 1 and 5. Both must hold 3 afterwards.", limit=60)
def average(answer):
    needs_function(answer, "average_gradients")
    first, second = ranks.call(on_two_ranks_average, 2, answer, timeout=45)
    if first["parameters"] != [10.0, 10.0] or second["parameters"] != [20.0, 20.0]:
        raise NotYet(
            "the parameters were changed. Average the gradients, parameter.grad, and leave the parameters"
        )
    got = tuple(first["gradients"]), tuple(second["gradients"])
    if got == ((3.0,), (3.0,)):
        return "two ranks with the gradients 1 and 5 both hold 3"
    sentences = {
        ((6.0,), (6.0,)): "this is the sum of the gradients: divide it by the world size",
        ((1.5,), (1.5,)): "the gradients were divided by the world size twice",
        (
            (0.5,),
            (2.5,),
        ): "the gradients were divided, but never added up over the ranks: all_reduce is missing",
        (
            (1.0,),
            (5.0,),
        ): "the gradients are what they were before. Does your function write into parameter.grad?",
        ((1.0,), (1.0,)): "every rank holds rank 0's gradient: broadcast copies, all_reduce adds",
        ((3.0,), (5.0,)): "only rank 0 got the result. Use all_reduce, which gives it to every rank",
    }
    held = " and ".join(", ".join(f"{value:g}" for value in values) for values in got)
    raise NotYet(sentences.get(got, f"the ranks held 1 and 5 and now hold {held}, where all should be 3"))


AVERAGE = """
import torch.distributed as dist
def average_gradients(model, world_size):
    for parameter in model.parameters():
        {}
"""
known_wrong(
    "average",
    code(AVERAGE.format("dist.all_reduce(parameter.grad)")),
    "this is the sum of the gradients: divide it by the world size",
)
known_wrong(
    "average",
    code(AVERAGE.format("parameter.grad /= world_size")),
    "the gradients were divided, but never added up over the ranks: all_reduce is missing",
)
known_wrong(
    "average",
    code(AVERAGE.format("dist.all_reduce(parameter.data); parameter.data /= world_size")),
    "the parameters were changed. Average the gradients, parameter.grad, and leave the parameters",
)
known_wrong(
    "average",
    code(
        AVERAGE.format(
            "parameter.grad /= world_size; dist.all_reduce(parameter.grad); parameter.grad /= world_size"
        )
    ),
    "the gradients were divided by the world size twice",
)


known_wrong(
    "average",
    code(AVERAGE.format("dist.broadcast(parameter.grad, src=0)")),
    "every rank holds rank 0's gradient: broadcast copies, all_reduce adds",
)


def on_two_ranks_hooks(answer):
    """One rank's view of two steps: are gradients those of the whole batch, and when did talking begin?"""
    import torch
    import torch.distributed as dist

    from scaleup.model import GPT, GPTConfig, next_token_loss

    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=32, context=8))
    window = torch.randint(0, 64, (4, 9))
    next_token_loss(model(window[:, :-1]), window[:, 1:]).backward()
    whole = [p.grad.clone() for p in model.parameters()]
    calls, real = [], dist.all_reduce

    def counting(*args, **options):
        calls.append(options.get("async_op", False))
        return real(*args, **options)

    dist.all_reduce = counting
    try:
        finish = answer(model, world_size)
        if not callable(finish):
            return {"finish": type(finish).__name__}
        steps = []
        for _ in range(2):
            model.zero_grad()
            calls.clear()
            share = window[rank::world_size]
            next_token_loss(model(share[:, :-1]), share[:, 1:]).backward()
            during = list(calls)
            finish()
            pairs = [(p.grad, w) for p, w in zip(model.parameters(), whole, strict=True)]
            near = [torch.allclose(g, w, atol=1e-6) for g, w in pairs]
            summed = [torch.allclose(g, world_size * w, atol=1e-6) for g, w in pairs]
            steps.append({"equal": all(near), "summed": all(summed), "during": during, "total": len(calls)})
    finally:
        dist.all_reduce = real
    return {"steps": steps, "tensors": len(whole)}


@exercise("hooks", hint="Keep what all_reduce returns in a list; finish() goes through that list.", limit=60)
def hooks(answer):
    needs_function(answer, "attach")
    seen = ranks.call(on_two_ranks_hooks, 2, answer, timeout=45)[0]
    if "finish" in seen:
        raise NotYet(f"attach returned a {seen['finish']}. It has to return the function finish")
    first, second = seen["steps"]
    if not first["during"] and not first["total"]:
        raise NotYet("no all_reduce was called at all: register a hook on every parameter")
    if not first["during"]:
        raise NotYet(
            "no all_reduce had started when backward was over, so nothing overlaps. Start it in a hook"
        )
    if not all(first["during"]):
        raise NotYet("the hooks wait for the sum, so the backward pass stands still. Use async_op=True")
    if first["summed"]:
        raise NotYet("the gradients are summed, not averaged: divide them in finish(), after wait()")
    if not first["equal"]:
        raise NotYet(
            "after finish() the gradients are not those of the whole batch. Has every parameter a hook, "
            "and is it divided once, after wait()?"
        )
    if not second["equal"]:
        raise NotYet(
            "the first step is right, the second is not: empty the list of pending works in finish()"
        )
    return f"{seen['tensors']} gradients were sent during the backward pass and equal the whole batch's"


HOOKS = """
import torch.distributed as dist
def attach(model, world_size):
    pending = []
    def send(parameter):
        {send}
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(send)
    def finish():
        for parameter, work in pending:
            work.wait()
            {divide}
        {clear}
    return finish
"""
SEND = "pending.append((parameter, dist.all_reduce(parameter.grad, async_op=True)))"
DIVIDE = "parameter.grad /= world_size"


def hooks_with(send=SEND, divide=DIVIDE, clear="pending.clear()"):
    return code(HOOKS.format(send=send, divide=divide, clear=clear))


known_wrong(
    "hooks",
    hooks_with(divide="pass"),
    "the gradients are summed, not averaged: divide them in finish(), after wait()",
)
known_wrong(
    "hooks",
    hooks_with(clear="pass"),
    "the first step is right, the second is not: empty the list of pending works in finish()",
)
known_wrong(
    "hooks",
    hooks_with(send="dist.all_reduce(parameter.grad); parameter.grad /= world_size"),
    "the hooks wait for the sum, so the backward pass stands still. Use async_op=True",
)
known_wrong(
    "hooks",
    code("""
        import torch.distributed as dist
        def attach(model, world_size):
            def finish():
                for parameter in model.parameters():
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= world_size
            return finish
        """),
    "no all_reduce had started when backward was over, so nothing overlaps. Start it in a hook",
)


def is_number(value):
    return isinstance(value, int | float) and math.isfinite(value)


@exercise("shares", hint="world size x own count / total count.")
def shares(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(is_number, answer)):
        raise NotYet("give two numbers: (factor of rank 0, factor of rank 1)")
    got = tuple(round(float(x), 3) for x in answer)
    sentences = {
        (
            0.75,
            0.25,
        ): "these are the shares of the tokens. DDP divides by the world size once more, so multiply by it",
        (
            1.0,
            1.0,
        ): "this changes nothing, and each token of rank 1 counts three times as much as one of rank 0",
        (0.5, 1.5): "the factors are swapped: the rank with more tokens must weigh more",
        (0.375, 0.125): "you divided by the world size. DDP does that too, so multiply by it",
        (300.0, 100.0): "right in proportion, but DDP's mean of the two must be the mean over 400 tokens",
    }
    if got in sentences:
        raise NotYet(sentences[got])
    if got != (1.5, 0.5):
        raise NotYet(
            f"with these factors the batch's loss would be {(2 * got[0] + 4 * got[1]) / 2:g}; it is 2.5"
        )
    return "every one of the 400 tokens counts the same"


known_wrong(
    "shares",
    (0.75, 0.25),
    "these are the shares of the tokens. DDP divides by the world size once more, so multiply by it",
)
known_wrong(
    "shares",
    (1, 1),
    "this changes nothing, and each token of rank 1 counts three times as much as one of rank 0",
)
known_wrong("shares", (0.5, 1.5), "the factors are swapped: the rank with more tokens must weigh more")


@exercise(
    "efficiency", hint="How long is the step? Forward, then the longer of two things, then the optimizer."
)
def efficiency(answer):
    sentences = {
        0.56: "this adds the 80 ms to the step. They run beside the backward pass",
        1.0: "the 80 ms are longer than the 60 ms that could hide them",
        0.8: "this means a step of 125 ms. Add up: forward, the longer of two, optimizer",
        1.2: "this is the time of the step over that of one rank. Efficiency is the other way round",
        83.0: "give a share between 0 and 1, not a percentage",
    }
    if not is_number(answer):
        raise NotYet(f"give a number such as 0.5, not {answer!r}")
    got = round(float(answer), 2)
    if got in sentences:
        raise NotYet(sentences[got])
    if not abs(got - 0.83) < 0.011:
        raise NotYet(
            f"your answer means a step of {100 / got:.0f} ms. Add up: forward, the longer of two, optimizer"
        )
    return "the step takes 1.2 times as long as that of one rank"


known_wrong("efficiency", 100 / 180, "this adds the 80 ms to the step. They run beside the backward pass")
known_wrong("efficiency", 1, "the 80 ms are longer than the 60 ms that could hide them")
known_wrong("efficiency", 83, "give a share between 0 and 1, not a percentage")


@exercise(
    "bugs", hint="Weights, order of the data, gradient, file: look at each in turn.", limit=90, file=True
)
def bugs(path):
    results = ranks.run(path, 2, timeout=75, quiet=True).results
    if len(results) < 2 or not all(
        {"weight", "order", "own", "averaged"} <= set(r) for r in results.values()
    ):
        raise NotYet("the lines that fill 'seen' and save_result(seen) are missing. Leave them as they were")
    one, two = results[0], results[1]
    if abs(one["weight"] - two["weight"]) > 1e-6:
        raise NotYet("bug left: the ranks start from different weights, and nobody sends them around")
    if one["order"][0] == one["order"][1]:
        raise NotYet("bug left: both epochs have the same order, so the sampler never reshuffles")
    if set(one["order"][0]) & set(two["order"][0]):
        raise NotYet("both ranks now see the same windows. The sampler must share them out")
    mean = [(a + b) / 2 for a, b in zip(one["own"], two["own"], strict=True)]
    if all(abs(g - 2 * m) < 1e-5 for g, m in zip(one["averaged"], mean, strict=True)):
        raise NotYet("bug left: the gradients are summed over the ranks, not averaged")
    if not all(abs(g - m) < 1e-5 for g, m in zip(one["averaged"], mean, strict=True)):
        raise NotYet("the gradient after average() is not the mean of the two ranks' gradients")
    if one["saved"] and two["saved"]:
        raise NotYet("bug left: every rank saves to the same file at the same time")
    if not one["saved"]:
        raise NotYet("rank 0 no longer saves the model. One rank has to")
    return "all four bugs are gone"


known_wrong(
    "bugs",
    edited("broken_training.py", {"dist.broadcast(parameter.detach(), src=0)": "pass"}),
    "bug left: the ranks start from different weights, and nobody sends them around",
)
known_wrong(
    "bugs",
    edited("broken_training.py", {"sampler.set_epoch(epoch)": "pass"}),
    "bug left: both epochs have the same order, so the sampler never reshuffles",
)
known_wrong(
    "bugs",
    edited("broken_training.py", {"parameter.grad /= world_size": "pass"}),
    "bug left: the gradients are summed over the ranks, not averaged",
)
known_wrong(
    "bugs",
    edited("broken_training.py", {"    if rank == 0:\n": "    if True:\n"}),
    "bug left: every rank saves to the same file at the same time",
)
