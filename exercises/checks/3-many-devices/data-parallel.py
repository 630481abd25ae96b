"""Checks of the exercises on data-parallel training. Three run on two real ranks, and watch what they do."""

import math
from types import SimpleNamespace

from scaleup import ranks
from scaleup.exercises import code, edited, rules, says, slip, values


def on_ranks_average(answer):
    """One rank's view: gradients of 1, 5, 9 … before; what the answer made of them and of the parameters."""
    import torch
    import torch.distributed as dist

    rank, world_size = dist.get_rank(), dist.get_world_size()
    model = torch.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.data.fill_(10.0 * (rank + 1))
        parameter.grad = torch.full_like(parameter, 1.0 + 4 * rank)
    seen = {"lost": False, "divided": False}

    class Divisions(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen["divided"] |= getattr(function, "__name__", "") in ("div", "true_divide", "__truediv__")
            return function(*args, **(kwargs or {}))

    try:
        with Divisions():
            answer(model, world_size)
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        seen["lost"] = True
    seen["lost"] |= any(p.grad is None for p in model.parameters())
    seen["gradients"] = [] if seen["lost"] else [p.grad.flatten()[0].item() for p in model.parameters()]
    return seen | {"parameters": [p.data.flatten()[0].item() for p in model.parameters()]}


def two_then_three(answer):
    both = ranks.call(on_ranks_average, 2, answer, timeout=30)
    kept = [rank["parameters"] for rank in both] == [[10.0, 10.0], [20.0, 20.0]]
    seen = SimpleNamespace(kept=kept, lost=both[0]["lost"], divided=both[0]["divided"])
    seen.all = [tuple(sorted(set(rank["gradients"]))) for rank in both]
    seen.held = " and ".join(", ".join(f"{value:g}" for value in values) for values in seen.all)
    seen.third = seen.all == [(3.0,), (3.0,)] and {
        value for rank in ranks.call(on_ranks_average, 3, answer, timeout=30) for value in rank["gradients"]
    }
    return seen


def hold(*values):
    return lambda seen: seen.all == [(value,) for value in values]


REDUCE = "dist.all_reduce(parameter.grad)"
rules(
    "average", two_then_three,
    [slip(lambda seen: not seen.kept,
          "the parameters were changed. Average the gradients, parameter.grad, and leave the parameters",
          "dist.all_reduce(parameter.data); parameter.data /= world_size"),
     slip(lambda seen: seen.lost,
          "all_reduce changes its tensor in place and returns nothing. Divide parameter.grad in the next "
          "line",
          f"parameter.grad = {REDUCE} / world_size", f"parameter.grad = {REDUCE}"),
     slip(lambda seen: hold(6, 6)(seen) and seen.divided,
          "parameter.grad still holds the sum: the quotient went into a new tensor. Divide in place, with /=",
          "g = parameter.grad; dist.all_reduce(g); g = g / world_size"),
     slip(hold(6, 6), "this is the sum of the gradients: divide it by the world size", REDUCE),
     slip(hold(12, 12), "the gradients are multiplied by the world size: divide",
          f"{REDUCE}; parameter.grad *= world_size"),
     slip(hold(1.5, 1.5), "the gradients were divided by the world size twice",
          f"parameter.grad /= world_size; {REDUCE}; parameter.grad /= world_size"),
     slip(hold(0.5, 2.5),
          "the gradients were divided, but never added up over the ranks: all_reduce is missing",
          "parameter.grad /= world_size"),
     slip(hold(1, 5),
          "the gradients are what they were before. Does your function write into parameter.grad?",
          "g = parameter.grad.clone(); dist.all_reduce(g); g /= world_size"),
     slip(hold(1, 1), "every rank holds rank 0's gradient: broadcast copies, all_reduce adds",
          "dist.broadcast(parameter.grad, src=0)"),
     slip(hold(5, 5), "every rank holds the largest gradient: all_reduce adds when op is left as it is",
          "dist.all_reduce(parameter.grad, op=dist.ReduceOp.MAX)"),
     slip(lambda seen: hold(3, 5)(seen) or hold(3, 2.5)(seen),
          "only rank 0 got the result. Use all_reduce, which gives it to every rank",
          "dist.reduce(parameter.grad, dst=0); parameter.grad /= world_size"),
     slip(lambda seen: all(len(values) > 1 for values in seen.all),
          "the parameters are not treated alike: the loop has to reach every one of them",
          f"{REDUCE}; parameter.grad /= world_size; break"),
     slip(lambda seen: seen.all != [(3.0,), (3.0,)],
          "the ranks held 1 and 5 and now hold {held}, where all should be 3",
          says(f"{REDUCE}; parameter.grad -= world_size", held="4 and 4")),
     slip(lambda seen: seen.third != {5.0},
          "right on two ranks, wrong on three: divide by world_size and not by a number",
          f"{REDUCE}; parameter.grad /= 2")],
    needs="average_gradients",
    example=lambda body: code("import torch.distributed as dist\ndef average_gradients(model, world_size):\n"
                              f"    for parameter in model.parameters():\n        {body}"),
    hint="Two ranks hold 1 and 5. Both must hold 3 afterwards.", limit=90,
    done="two ranks with the gradients 1 and 5 both hold 3")  # fmt: skip


def on_two_ranks_hooks(answer):
    """One rank's timeline of two steps: gradients ready, sums begun and waited for; and what came out.

    A sum that is begun without waiting goes on beside the backward pass in a copy, and its result is put
    into the tensor by `wait`. So a wait that is missing, or a division before it, shows in every run.
    """
    import torch
    import torch.distributed as dist

    from scaleup.model import GPT, GPTConfig, next_token_loss

    rank, world_size, real = dist.get_rank(), dist.get_world_size(), dist.all_reduce
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=32, context=8))
    window = torch.randint(0, 64, (4, 9))
    next_token_loss(model(window[:, :-1]), window[:, 1:]).backward()
    whole = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    line = []  # the timeline: (what, number of the sum)
    begun = []  # every sum: which step, which memory

    class Work:
        def __init__(self, tensor, step, *args, **options):
            self.number, self.tensor = len(begun), tensor
            self.before, self.sum = tensor.clone(), tensor.clone()
            begun.append((step, tensor.data_ptr()))
            self.real, self.there = real(self.sum, *args, async_op=True, **options), False

        def wait(self, *args):
            line.append(("wait", self.number))
            if not self.there:
                self.real.wait()
                if not torch.equal(self.tensor, self.before):
                    line.append(("raced", self.number))
                self.tensor.detach().copy_(self.sum)
                self.there = True
            return True

        def is_completed(self):
            return self.real.is_completed() and self.wait()

        def get_future(self):
            future = torch.futures.Future()
            self.wait()
            line.remove(("wait", self.number))  # whoever asks for the future does not wait here
            line.append(("future", self.number))
            future.set_result([self.tensor])
            return future

        def __getattr__(self, name):
            return getattr(self.real, name)

    def watched(tensor, *args, async_op=False, **options):
        if tensor is None:
            line.append(("nothing", 0))
            raise TypeError("there is no gradient yet")
        tensor = tensor.detach()
        if async_op:
            line.append(("begin", len(begun)))
            return Work(tensor, seen["step"], *args, **options)
        line.append(("block", len(begun)))
        begun.append((seen["step"], tensor.data_ptr()))
        return real(tensor, *args, **options)

    seen, early = {"step": 0, "steps": [], "tensors": len(whole), "returned": "", "raised": ""}, []
    hook, names = torch.Tensor.register_hook, [n for n, v in answer.__globals__.items() if v is real]
    dist.all_reduce = watched
    answer.__globals__.update(dict.fromkeys(names, watched))
    torch.Tensor.register_hook = lambda *args: (early.append(1), hook(*args))[1]
    for number, parameter in enumerate(model.parameters()):
        parameter.register_post_accumulate_grad_hook(lambda _, number=number: line.append(("ready", number)))
    finish = answer(model, world_size)
    torch.Tensor.register_hook = hook
    seen["early"] = bool(early)
    if not callable(finish):
        return seen | {"returned": type(finish).__name__}
    for step in range(2):
        model.zero_grad()
        line.clear()
        first, seen["step"] = len(begun), step
        share = window[rank::world_size]
        try:
            next_token_loss(model(share[:, :-1]), share[:, 1:]).backward()
            line.append(("backward", 0))
            finish()
        except (TypeError, AttributeError, RuntimeError) as error:
            return seen | {"raised": f"{type(error).__name__}: {error}".splitlines()[0]}
        pairs = [(p.grad, w) for p, w in zip(model.parameters(), whole, strict=True)]
        ratios = [((g * w).sum() / (w * w).sum()).item() for g, w in pairs]
        right = all(torch.allclose(g, w, atol=1e-6) for g, w in pairs)
        memory = len({place for _, place in begun[first:]})
        seen["steps"].append({"line": list(line), "right": right, "ratios": ratios, "memory": memory})
        seen["steps"][-1]["first"] = first
    return seen


def timeline(answer):
    """What the table asks of the first rank's timeline."""
    seen = SimpleNamespace(**ranks.call(on_two_ranks_hooks, 2, answer, timeout=45)[0])
    if seen.returned or seen.raised:
        return seen
    one, two = seen.steps
    line = [what for what, _ in one["line"]]
    over = line.index("backward")
    begun, seen.early_begun = [w for w in line if w in ("begin", "block")], line[:over].count("begin")
    seen.during, seen.begun = [w for w in line[:over] if w in ("begin", "block", "wait")], len(begun)
    seen.waited = len({number for what, number in one["line"] if what in ("wait", "future")})
    seen.late = seen.begun - line[:over].count("begin") - line[:over].count("block")
    start = next((place for place, what in enumerate(line) if what in ("begin", "block")), 0)
    seen.ready = line[:start].count("ready")
    seen.raced, seen.one, seen.memory = "raced" in line, one["right"], one["memory"]
    seen.two = two["right"] and not any(what == "raced" for what, _ in two["line"])
    seen.stale = any(what == "wait" and number < two["first"] for what, number in two["line"])
    seen.ratio = one["ratios"][0] if max(one["ratios"]) - min(one["ratios"]) < 1e-3 else math.nan
    return seen


def hooks(
    send="pending.append((parameter, dist.all_reduce(parameter.grad, async_op=True)))",
    finish="for parameter, work in pending:\n            work.wait()\n            parameter.grad /= "
    "world_size",
    clear="pending.clear()",
    each="parameter.register_post_accumulate_grad_hook(send)",
    end="return finish",
):
    return (
        "import torch.distributed as dist\ndef attach(model, world_size):\n    pending = []\n"
        f"    def send(parameter):\n        {send}\n    for parameter in model.parameters():\n      "
        f"  {each}\n"
        f"    def finish():\n        {finish}\n        {clear}\n    {end}"
    )


SUM = "dist.all_reduce(parameter.grad, async_op=True)"
LOOP = "for parameter in model.parameters():\n            "
rules(
    "hooks", timeline,
    [slip(lambda seen: seen.returned == "NoneType",
          "attach returned nothing. It has to return the function finish, without brackets",
          hooks(end="finish()"), hooks(end="return finish()")),
     slip(lambda seen: seen.returned, "attach returned a {returned}. It has to return the function finish",
          says(hooks(end="return pending"), returned="list")),
     slip(lambda seen: seen.early and (seen.raised or not seen.one),
          "register_hook comes before the gradient is in parameter.grad. Use "
          "register_post_accumulate_grad_hook",
          hooks(each="parameter.register_hook(send)"),
          hooks(f"pending.append((parameter, {SUM.replace('parameter.grad', 'parameter')}))",
                finish="for gradient, work in pending:\n            work.wait()\n            gradient /= "
                       "world_size",
                each="parameter.register_hook(lambda gradient: send(gradient))")),
     slip(lambda seen: seen.raised, "your hooks or finish() raised {raised}",
          says(hooks(finish="pending[0].wait()"),
               raised="AttributeError: 'tuple' object has no attribute 'wait'")),
     slip(lambda seen: not seen.begun, "no all_reduce was called at all: register a hook on every parameter",
          hooks(each="pass")),
     slip(lambda seen: not seen.during,
          "no all_reduce had started when backward was over, so nothing overlaps. Start it in a hook",
          hooks(each="pass", finish=f"{LOOP}dist.all_reduce(parameter.grad); parameter.grad /= world_size")),
     slip(lambda seen: "block" in seen.during,
          "the hooks wait for the sum, so the backward pass stands still. Use async_op=True",
          hooks("dist.all_reduce(parameter.grad); parameter.grad /= world_size")),
     slip(lambda seen: "wait" in seen.during,
          "a wait() inside the hook makes the backward pass stand still. Only finish() may wait",
          hooks(f"work = {SUM}; work.wait(); parameter.grad /= world_size", finish="pass"),
          hooks(f"work = {SUM}; work.wait()", finish=f"{LOOP}parameter.grad /= world_size")),
     slip(lambda seen: seen.early_begun > seen.memory,
          "the same gradient was sent {early_begun} times, others never: a closure in a loop sees the last "
          "parameter. Use the argument that the hook is given",
          says(hooks(each="last = list(model.parameters())[-1]; "
                          "parameter.register_post_accumulate_grad_hook(lambda _: pending.append((last, "
                          f"{SUM.replace('parameter', 'last')})))"),
               early_begun=21)),
     slip(lambda seen: seen.raced,
          "a gradient was written while its sum was on the way, a race: divide in finish(), after wait()",
          hooks(f"pending.append((parameter, {SUM})); parameter.grad /= world_size",
                finish="for _, work in pending:\n            work.wait()")),
     slip(lambda seen: seen.waited == 0,
          "finish() waits for none of the sums. Call wait() on every work, then divide", hooks(finish="pass"),
          hooks(finish=f"{LOOP}parameter.grad /= world_size"),
          hooks(f"{SUM}; parameter.grad /= world_size", finish="pass")),
     slip(lambda seen: seen.late,
          "{late} sums begin only in finish(). Each gradient is sent once, in its hook",
          says(hooks(finish="for parameter, work in pending:\n            work.wait()\n            "
                            "dist.all_reduce(parameter.grad); parameter.grad /= world_size"),
               late=21)),
     slip(lambda seen: seen.waited < seen.begun,
          "finish() waits for {waited} of {begun} sums. Each work needs its own wait()",
          says(hooks(finish=f"pending[-1][1].wait()\n        {LOOP}parameter.grad /= world_size"),
               waited=1, begun=21)),
     slip(lambda seen: seen.ready == seen.tensors,
          "the first all_reduce starts when the last gradient is ready, so nothing overlaps",
          hooks("pending.append(parameter)\n        if len(pending) == len(list(model.parameters())):\n      "
                "      pending[:] = [(p, dist.all_reduce(p.grad, async_op=True)) for p in pending]")),
     slip(lambda seen: math.isclose(seen.ratio, 2, rel_tol=1e-3),
          "the gradients are summed, not averaged: divide them in finish(), after wait()",
          hooks(finish="for parameter, work in pending:\n            work.wait()")),
     slip(lambda seen: seen.ratio < 0.9,
          "the gradients are divided more than once: the hook, finish() or a loop inside another does it "
          "again",
          hooks(f"parameter.grad /= world_size; pending.append((parameter, {SUM}))")),
     slip(lambda seen: not seen.one and seen.begun < seen.tensors,
          "only {begun} of {tensors} gradients were sent. Register a hook on every parameter",
          says(hooks(each="parameter.dim() > 1 and parameter.register_post_accumulate_grad_hook(send)"),
               begun=16, tensors=21)),
     slip(lambda seen: not seen.one,
          "after finish() the gradients are not those of the whole batch. Has every parameter a hook, and is "
          "it divided once, after wait()?",
          hooks(finish="for parameter, work in pending:\n            work.wait()\n        pending[0][0].grad "
                       "/= world_size")),
     slip(lambda seen: not seen.two,
          "the first step is right, the second is not: empty the list of pending works in finish()",
          hooks(clear="pass")),
     slip(lambda seen: seen.stale,
          "finish() waits again for the works of the step before: empty the list of pending works",
          hooks(finish=f"[work.wait() for _, work in pending]\n        {LOOP}parameter.grad /= world_size",
                clear="pass"))],
    needs="attach", example=code,
    hint="Keep what all_reduce returns in a list; finish() goes through that list.", limit=60,
    done=lambda seen: f"{seen.tensors} gradients were sent during the backward pass and equal the "
                      "whole batch's")  # fmt: skip


values(
    "shares",
    (1.5, 0.5),
    {
        (0.75, 0.25): "these are the shares of the tokens. DDP divides by the world size once more, "
        "so multiply "
        "by it",
        (1, 1): "this changes nothing, and each token of rank 1 counts three times as much as one of rank 0",
        (0.5, 1.5): "the factors are swapped: the rank with more tokens must weigh more",
        (0.375, 0.125): "you divided by the world size. DDP does that too, so multiply by it",
        (300, 100): "right in proportion, but DDP's mean of the two must be the mean over 400 tokens",
        (3, 1): "right in proportion, but DDP's mean of the two must be the mean over 400 tokens",
        (600, 200): "the division by the 400 tokens is missing",
        (2 / 3, 2): "this is upside down: world size x own count / total count",
        (4 / 3, 4): "this is the total over the own count, upside down: world size x own count / total count",
        (3.0, 2.0): "these are the losses times the factors. Give the factors alone",
        (0.005, 0.005): "2 / 400 is the factor for a sum of losses. The losses here are means, so each rank "
        "needs its own count as well",
        (150, 50): "divide the own count by the mean count of a rank, 200, not by the world size",
    },
    within=1e-3,
    ask="give two numbers: (factor of rank 0, factor of rank 1)",
    otherwise=slip(
        bool,
        lambda got: f"with these factors the batch's loss would be {got[0] + 2 * got[1]:g}; it is 2.5",
        says((2, 1), "with these factors the batch's loss would be 4; it is 2.5"),
    ),
    hint="world size x own count / total count.",
    done="every one of the 400 tokens counts the same",
)

values(
    "efficiency",
    100 / 120,
    {
        100 / 180: "this adds the 80 ms to the step. They run beside the backward pass",
        1: "the 80 ms are longer than the 60 ms that could hide them",
        0.8: "this takes the 20 ms that stick out from 100 %. Divide the old step by the new one of 120 ms",
        1.2: "this is the time of the step over that of one rank. Efficiency is the other way round",
        83.3: "give a share between 0 and 1, not a percentage",
        120: "this is the step in ms. Efficiency is the 100 ms of one rank over it",
        100 / 110: "this leaves out the 10 ms of the optimizer",
        100 / 170: "this adds the 80 ms and leaves out the optimizer. They run beside the backward pass",
        100 / 160: "this adds the 60 ms that are hidden. Only 80 - 60 = 20 ms show",
        100 / 140: "this adds the 80 ms to forward and backward's difference. Only 80 - 60 = 20 ms show",
        200 / 120: "this is the speed-up of two ranks. Divide it by the number of ranks",
        50 / 120: "this divides by the number of ranks twice. The time of one rank over that of a "
                  "step is enough",
        0.75: "this is the share of the sending that is hidden. Efficiency compares two steps",
        0.25: "this is the share of the sending that shows. Efficiency compares two steps",
        0.2: "this is how much longer the step is. Efficiency is 100 ms over the step",
        1 / 6: "this is what is lost. Efficiency is the rest",
    },
    ask="give one number such as 0.5",
    otherwise=slip(
        bool,
        lambda got: f"your answer means a step of {100 / got:.4g} ms. Add up: forward, the longer of two, "
        "optimizer" if got > 0 else "an efficiency is above zero",
        says(0.4, "your answer means a step of 250 ms. Add up: forward, the longer of two, optimizer"),
        says(0, "an efficiency is above zero"),
    ),
    hint="How long is the step? Forward, then the longer of two things, then the optimizer.",
    done="the step takes 1.2 times as long as that of one rank",
)  # fmt: skip


def on_two_ranks_bugs(path):
    """One rank's view of a run of the file: the weights, the windows, the gradients and the file written."""
    import os
    import runpy

    import torch
    import torch.distributed as dist
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    from torch.utils.data import DataLoader, DistributedSampler

    from scaleup import model as models
    from scaleup.model import GPT
    from scaleup.text.windows import Windows

    seen = {"start": [], "end": [], "own": {}, "averaged": [], "epochs": [], "numbers": [], "saved": []}
    seen |= {"sampled": True, "part": 1.0, "barred": False, "made": []}
    losses = []

    def some(tensor):
        return tensor.detach().flatten()[:: max(1, tensor.numel() // 50)].tolist()

    def before_update(optimizer, *_):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not seen["start"]:
            seen["start"] = [some(p) for p in parameters]
            seen["averaged"] = [some(p.grad) for p in parameters if p.grad is not None]
        seen["end"] = [some(p) for p in parameters]

    def build(model, *args, made=GPT.__init__):
        made(model, *args)
        seen["made"] = [some(p) for p in model.parameters()]
        for number, parameter in enumerate(model.parameters()):
            parameter.data += 1e-3 * int(os.environ["RANK"])  # so that equal seeds are not enough

            def look(parameter, number=str(number)):
                seen["own"].setdefault(number, some(parameter.grad))

            parameter.register_post_accumulate_grad_hook(look)

    def loss_of(*args, real=models.next_token_loss):
        losses.append(real(*args))
        return losses[-1]

    def backward(loss, *args, real=torch.Tensor.backward, **options):
        if losses and loss.numel() == 1:
            seen["part"] = loss.item() / losses[-1].item()
        real(loss, *args, **options)

    def item(windows, index, get=Windows.__getitem__):
        seen["epochs"][-1].append(int(index))
        return get(windows, index)

    def each(loader, go=DataLoader.__iter__):
        seen["epochs"].append([])
        seen["sampled"] &= isinstance(loader.sampler, DistributedSampler)
        return go(loader)

    def reshuffle(sampler, epoch, real=DistributedSampler.set_epoch):
        seen["numbers"].append(epoch)
        real(sampler, epoch)

    def save(state, file, *args, write=torch.save, **options):
        seen["saved"].append(str(file))
        write(state, file, *args, **options)

    def barrier(*args, real=dist.barrier, **options):
        try:
            real(*args, **options)
        except RuntimeError:  # the others ended without it
            seen["barred"] = True

    dist.barrier = barrier
    models.next_token_loss, torch.Tensor.backward = loss_of, backward
    GPT.__init__, Windows.__getitem__, DataLoader.__iter__ = build, item, each
    DistributedSampler.set_epoch, torch.save = reshuffle, save
    register_optimizer_step_pre_hook(before_update)
    runpy.run_path(path, run_name="__main__")
    return seen


def two_views(path):
    views = ranks.call(on_two_ranks_bugs, 2, str(path), timeout=75, join=False)
    one, two = (SimpleNamespace(**view) for view in views)

    def same(a, b):
        """How many tensors are equal."""
        pairs = zip(a, b, strict=True)
        return sum(all(abs(x - y) < 1e-6 for x, y in zip(*pair, strict=True)) for pair in pairs)

    if not one.start or not two.start:
        return SimpleNamespace(steps=False)
    weights = [(p, q) for p, q in zip(one.start, two.start, strict=True) if len(set(p)) > 1]  # no norms
    own, other = ([view.own[number] for number in sorted(view.own, key=int)] for view in (one, two))
    mean = [[(x + y) / 2 for x, y in zip(p, q, strict=True)] for p, q in zip(own, other, strict=True)]
    double = [[2 * x for x in p] for p in mean]
    return SimpleNamespace(
        one=one, two=two, steps=True, tensors=len(mean), weights=len(weights), seeded=one.made == two.made,
        same=same(*zip(*weights, strict=True)), end=same(one.end, two.end),
        mean=same(one.averaged, mean), summed=same(one.averaged, double) if one.averaged else 0,
        alone=same(one.averaged, own), part=one.part, alone_at_barrier=one.barred or two.barred,
        epochs=one.epochs[:2], shared=set(one.epochs[0]) & set(two.epochs[0]),
    )  # fmt: skip


ONE_FILE = "bug left: every rank saves to the same file at the same time"
LOADER = "DataLoader(dataset, batch_size=4, sampler=sampler)"
RIGHT = "dist.broadcast(parameter.detach(), src=0)"
SAVE = """    if rank == 0:
        torch.save(model.state_dict(), paths.state() / "broken_training.pt")
"""
rules(
    "bugs",
    two_views,
    [
        slip(lambda seen: not seen.steps, "the file makes no step of the optimizer. Leave the "
                                          "training loop in it",
             {"            optimizer.step()\n": ""}),
        slip(lambda seen: not seen.same and seen.seeded,
             "bug left: the weights are equal only because the seeds are. Send rank 0's to all, whatever the "
             "seeds",
             {"manual_seed(rank)": "manual_seed(0)", RIGHT: "pass"},
             {"    torch.manual_seed(rank)\n": "", RIGHT: "pass"}),
        slip(lambda seen: not seen.same,
             "bug left: the ranks start from different weights, and nobody sends them "
             "around", {RIGHT: "pass"}),
        slip(lambda seen: seen.same < seen.weights,
             "bug left: {same} of {weights} weight matrices start equal on both ranks. Send every one",
             says({f"    for parameter in model.parameters():\n        {RIGHT}":
                   f"    {RIGHT.replace('parameter', 'model.head.weight')}"}, same=1, weights=9)),
        slip(lambda seen: not seen.one.sampled,
             "the loader does not use the sampler, so every rank draws from all windows. Give it "
             "sampler=sampler",
             {LOADER: "DataLoader(dataset, batch_size=4, shuffle=True)"},
             {LOADER: "DataLoader(dataset, batch_size=4)"}),
        slip(lambda seen: seen.shared, "both ranks now see the same windows. The sampler must share them out",
             {"seed=1, drop_last": "seed=1, num_replicas=2, rank=0, drop_last"},
             {"seed=1, drop_last": "seed=rank, drop_last"}),
        slip(lambda seen: seen.epochs[0] == seen.epochs[-1] and len(set(seen.one.numbers)) == 1,
             "bug left: set_epoch gets the same number in both epochs, so the order is the same",
             {"set_epoch(epoch)": "set_epoch(0)"}, {"set_epoch(epoch)": "set_epoch(EPOCHS)"}),
        slip(lambda seen: seen.epochs[0] == seen.epochs[-1] and seen.one.numbers,
             "bug left: set_epoch comes too late. Call it before the loop over the batches",
             {"        sampler.set_epoch(epoch)\n": "",
              "        print(f": "        sampler.set_epoch(epoch)\n        print(f"}),
        slip(lambda seen: seen.epochs[0] == seen.epochs[-1],
             "bug left: both epochs have the same order, so the sampler never reshuffles",
             {"sampler.set_epoch(epoch)": "pass"}),
        slip(lambda seen: seen.summed == seen.tensors and abs(seen.part - 0.5) > 0.01,
             "bug left: the gradients are summed over the ranks, not averaged",
             {"parameter.grad /= world_size": "pass"},
             {"parameter.grad /= world_size": "parameter.grad = parameter.grad / 1"}),
        slip(lambda seen: seen.mean == seen.tensors and abs(seen.part - 0.5) < 0.01,
             "the gradients are divided by the world size twice, in the loss and in average()",
             {"loss.backward()": "(loss / world_size).backward()"}),
        slip(lambda seen: abs(seen.part - 1) > 0.01 and seen.summed < seen.tensors,
             "the loss is changed before backward(): leave it as it is, average() does the rest",
             {"loss.backward()": "(3 * loss).backward()"}),
        slip(lambda seen: seen.alone == seen.tensors,
             "each rank updates with its own gradient: nothing is averaged over the ranks",
             {"            average(model, world_size)\n": ""}),
        slip(lambda seen: 0 < seen.mean < seen.tensors,
             "{mean} of {tensors} gradients are the mean of the two ranks. All have to be",
             says({"        parameter.grad /= world_size\n":
                   "    for parameter in list(model.parameters())[:3]:\n        parameter.grad /= "
                   "world_size\n"},
                  mean=3, tensors=12)),
        slip(lambda seen: seen.mean < seen.tensors,
             "the gradient after average() is not the mean of the two ranks' gradients",
             {"parameter.grad /= world_size": "parameter.grad /= world_size**2"}),
        slip(lambda seen: seen.end < seen.tensors,
             "the ranks start equal and end with different weights: some step did not average its gradients",
             {"            average(model, world_size)\n":
              "            if epoch == 0:\n                average(model, world_size)\n"}),
        slip(lambda seen: seen.alone_at_barrier,
             "one rank waits at a barrier that the other never reaches: every rank has to call it",
             {SAVE: SAVE + "        dist.barrier()\n", "\n    dist.barrier()\n": "\n"}),
        slip(lambda seen: set(seen.one.saved) & set(seen.two.saved), ONE_FILE,
             {"    if rank == 0:\n": "    if True:\n"}),
        slip(lambda seen: seen.one.saved and seen.two.saved,
             "each rank saves a file of its own. The models are the same, so one rank's file is enough",
             {SAVE: SAVE.replace("if rank == 0", "if True").replace('"broken', 'f"broken{rank}')}),
        slip(lambda seen: not seen.one.saved and not seen.two.saved,
             "rank 0 no longer saves the model. One rank has to", {SAVE: ""},
             {"if rank == 0:": "if rank == 2:"}),
    ],
    example=lambda changes: edited("broken_training.py", changes),
    hint="Weights, order of the data, gradient, file: look at each in turn.",
    limit=90,
    file=True,
    done="all four bugs are gone",
)  # fmt: skip
