"""Checks of the exercises on precision."""

import itertools
import math
from types import SimpleNamespace
from unittest import mock

import torch
from torch.amp import GradScaler

from scaleup.exercises import NotYet, code, formula, is_number, rules, says, slip, values
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.words import a_kind

RIGHT = "2.0 ** (floor(log2(value)) - fraction_bits)"
formula(
    "spacing", "spacing(value, fraction_bits)", RIGHT,
    [(1.0, 7), (300.0, 7), (0.02, 7), (5000.0, 10)],
    {"2.0 ** -fraction_bits":
         "this is the spacing at 1, everywhere. It doubles with each power of two: which one is below value?",
     "value * 2.0 ** -fraction_bits":
         "between two powers of two the spacing is constant: take the power of two below value, not value",
     "2.0 ** (ceil(log2(value)) - fraction_bits)":
         "this takes the power of two above value. The exponent is that of the one below: round down",
     "2.0 ** (floor(log2(value)) - fraction_bits - 1)":
         "this is half of the spacing, the largest error of rounding",
     "2.0 ** (floor(log2(value)) - fraction_bits + 1)":
         "this is twice the spacing. The leading one is not stored: all fraction bits lie behind the point",
     "2.0 ** (floor(log2(value)) + fraction_bits)":
         "more fraction bits must give a finer spacing: subtract them",
     "2.0 ** floor(log2(value)) / fraction_bits":
         "fraction_bits counts bits: they cut the room between two powers of two into 2^fraction_bits steps",
     "2.0 ** (floor(log(value)) - fraction_bits)":
         "the exponent is one of two: take math.log2, not the natural logarithm"},
    within=1e-9,
    otherwise=lambda off: f"from {off.row[0]:g} with {off.row[1]} fraction bits the next number is "
              f"{off.want:.3g} away, yours says {off.got:.3g}",
    hint="Which power of two is below the value? Up to the next one there are 2^fraction_bits steps.",
    done="bf16 counts in twos at 300",
    also=[says("def spacing(value, fraction_bits):\n    return 3.0",
               "from 1 with 7 fraction bits the next number is 0.00781 away, yours says 3")])  # fmt: skip

values(
    "stagnation", (4.0, 14.0),
    {(14.0, 14.0): "the second is right. In bf16 alone: how far is the next number after 4, and is 0.01 half "
                   "of that?",
     (20.0, 14.0): "the second is right. bf16 has no half steps: is 0.01 nearer to "
                   "nothing or to a whole step of 0.03125?",
     (4.0, 4.0): "the first is right. The master copy is fp32: it moves by 0.01 each time, and only its copy "
                 "is rounded",
     (14.0, 4.0): "the two have changed places: bf16 alone first, then with a master copy",
     (4.0, 4.01): "this is one update. There are a thousand",
     (4.01, 14.0): "the second is right. bf16 has no 4.01: what is it rounded to?",
     (0.0, 10.0): "these are the changes. Give the weights"},
    within=1e-6, ask="write two numbers: (the weight in bf16 alone, the weight with a master copy)",
    otherwise=slip(bool, "the spacing of bf16 at 4 is 0.03125. Compare half of it with 0.01, then add up in "
                         "fp32 for the second number", (4.5, 14.0), (4.0, 104.0)),
    hint="An update below half of the spacing is lost. The master copy loses nothing.",
    done="bf16 alone never moves, and the master copy ends at 14")  # fmt: skip

TINY = GPTConfig(vocab_size=64, layers=1, heads=2, dim=32, hidden=64, context=16)
MICRO = 8


class Watched(GradScaler):
    """A GradScaler that writes down who was called, and whether by itself."""

    def __init__(self, calls):
        super().__init__("cpu", init_scale=1024.0)
        self.calls, self.inside = calls, False

    def scale(self, outputs):
        self.calls.append("scale")
        return super().scale(outputs)

    def unscale_(self, optimizer):
        if not self.inside:
            self.calls.append("unscale")
        return super().unscale_(optimizer)

    def step(self, optimizer, *args, **kwargs):
        self.calls.append("step")
        self.inside = True
        try:
            return super().step(optimizer, *args, **kwargs)
        finally:
            self.inside = False

    def update(self, new_scale=None):
        self.calls.append("update")
        return super().update(new_scale)


def watched_step(one_step):
    """Two calls of the answer on a tiny model whose weights stay, and what it did in each."""
    torch.manual_seed(3)
    model, calls = GPT(TINY), []
    seen = SimpleNamespace(norms=[], kinds=[], returned=None, left=False, calls=calls, backward=False)
    inputs, targets = torch.randint(0, 64, (2, 2, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = Watched(calls)
    seen.loss = next_token_loss(model(inputs), targets)
    truth = torch.autograd.grad(seen.loss / MICRO, list(model.parameters()))
    seen.truth, seen.loss = math.hypot(*(g.norm().item() for g in truth)), seen.loss.item()
    real, real_step = torch.nn.utils.clip_grad_norm_, optimizer.step

    def clip(parameters, *args, **kwargs):
        parameters = list(parameters)
        calls.append("clip")
        grads = [p.grad for p in parameters if p.grad is not None]
        seen.norms.append(math.hypot(*(g.norm().item() for g in grads)))
        return real(parameters, *args, **kwargs)

    def step(*args, **kwargs):
        if not scaler.inside:
            calls.append("by yourself")
        return real_step(*args, **kwargs)

    real_backward = torch.Tensor.backward

    def backward(loss, *args, **kwargs):
        seen.left = any(p.grad is not None and p.grad.any() for p in model.parameters())
        return real_backward(loss, *args, **kwargs)

    known = getattr(one_step, "__globals__", {})  # where clip_grad_norm_ may have been imported by its name
    model.head.weight.register_hook(lambda _: setattr(seen, "backward", True))
    hook = model.head.register_forward_hook(lambda _, __, out: seen.kinds.append(out.dtype))
    optimizer.step = step
    try:
        with (
            mock.patch.object(torch.nn.utils, "clip_grad_norm_", clip),
            mock.patch.object(torch.Tensor, "backward", backward),
            mock.patch.dict(known, {name: clip for name, value in known.items() if value is real}),
        ):
            seen.returned = one_step(model, optimizer, scaler, inputs, targets, MICRO)
            seen.calls = list(calls)
            one_step(model, optimizer, scaler, inputs, targets, MICRO)
    except (RuntimeError, AssertionError):  # PyTorch's own complaint about the order of calls
        if "scale" in calls and "update" in calls and not before(calls, "update", "step"):
            raise
    finally:
        hook.remove()
    if not seen.kinds:
        raise NotYet("one_step never called the model")
    seen.ratio = [norm / seen.truth for norm in seen.norms] or [0.0]
    return seen


def unscaled_twice(calls):
    """Whether it was, in the first step."""
    first = calls[: calls.index("update")] if "update" in calls else calls
    return first.count("unscale") > 1 and "step" not in first[: first.index("unscale")]


def before(calls, first, second):
    return first in calls and second in calls and calls.index(first) < calls.index(second)


GOOD = """
import torch
from scaleup.model import next_token_loss


def one_step(model, optimizer, scaler, inputs, targets, micro_batches):
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.float16):
        loss = next_token_loss(model(inputs), targets)
    scaler.scale(loss / micro_batches).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    return loss.item()
"""
CLIP = "    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"


def instead(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


rules(
    "step", watched_step,
    [slip(lambda seen: seen.kinds[0] == torch.float32,
          "the forward pass ran in float32. Put it inside `with torch.autocast(\"cpu\", torch.float16):`",
          instead('torch.autocast("cpu", torch.float16)', "torch.enable_grad()")),
     slip(lambda seen: seen.kinds[0] == torch.bfloat16,
          "the forward pass ran in bfloat16. This exercise is about float16: name it in autocast",
          instead("torch.float16", "torch.bfloat16")),
     slip(lambda seen: not seen.backward,
          "there is no backward pass: call .backward() on scaler.scale(…)",
          instead("scaler.scale(loss / micro_batches).backward()", "scaler.scale(loss / micro_batches)"),
          instead("    scaler.scale(loss / micro_batches).backward()\n", "")),
     slip(lambda seen: "scale" not in seen.calls,
          "the backward pass ran on the bare loss. Call backward on scaler.scale(…)",
          instead("scaler.scale(loss / micro_batches).backward()", "(loss / micro_batches).backward()"),
          instead("scaler.scale(loss / micro_batches).backward()",
                  "(loss / micro_batches * scaler.get_scale()).backward()")),
     slip(lambda seen: "by yourself" in seen.calls,
          "you called optimizer.step() yourself, so an infinite gradient would reach the weights. "
          "scaler.step(optimizer) looks first",
          instead("scaler.step(optimizer)", "optimizer.step()")),
     slip(lambda seen: unscaled_twice(seen.calls),
          "scaler.unscale_(optimizer) is called twice in a step: once is enough, before clipping",
          instead("    scaler.unscale_(optimizer)\n", 2 * "    scaler.unscale_(optimizer)\n")),
     slip(lambda seen: "step" not in seen.calls, "there is no update: scaler.step(optimizer) is missing",
          instead("    scaler.step(optimizer)\n", "")),
     slip(lambda seen: before(seen.calls, "step", "unscale"),
          "scaler.unscale_(optimizer) comes after scaler.step(), which has unscaled by itself: unscale, "
          "clip, then step",
          instead("    scaler.unscale_(optimizer)\n" + CLIP + "    scaler.step(optimizer)\n",
                  "    scaler.step(optimizer)\n    scaler.unscale_(optimizer)\n" + CLIP)),
     slip(lambda seen: "clip" not in seen.calls,
          "the gradients are not clipped: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
          instead(CLIP, "")),
     slip(lambda seen: before(seen.calls, "step", "clip"),
          "the gradients are clipped after the update, which is too late", instead(CLIP, "").replace(
              "    scaler.update()\n", f"    scaler.update()\n{CLIP}")),
     slip(lambda seen: "unscale" not in seen.calls or before(seen.calls, "clip", "unscale"),
          "the gradients are clipped while they still carry the scale, so nearly all of them are cut. "
          "Call scaler.unscale_(optimizer) before",
          instead("    scaler.unscale_(optimizer)\n", ""),
          instead("    scaler.unscale_(optimizer)\n" + CLIP, CLIP + "    scaler.unscale_(optimizer)\n")),
     slip(lambda seen: "update" not in seen.calls,
          "the scale never changes, and the next step would complain: scaler.update() is missing",
          instead("    scaler.update()\n", "")),
     slip(lambda seen: before(seen.calls, "update", "step"),
          "scaler.update() comes before scaler.step(): the scale is changed by what the step found",
          instead("    scaler.step(optimizer)\n    scaler.update()\n",
                  "    scaler.update()\n    scaler.step(optimizer)\n")),
     slip(lambda seen: 0.8 * MICRO < seen.ratio[0] < 1.2 * MICRO,
          f"the gradients are {MICRO} times too large: divide the loss by micro_batches",
          instead("loss / micro_batches", "loss")),
     slip(lambda seen: seen.left,
          "the second step adds to the gradients of the first: optimizer.zero_grad() is missing",
          instead("    optimizer.zero_grad()\n", "")),
     slip(lambda seen: not 0.9 < seen.ratio[0] < 1.1,
          "the gradients are not those of the loss over micro_batches",
          instead("loss / micro_batches", "loss / micro_batches / 2")),
     slip(lambda seen: not is_number(seen.returned),
          "return the loss as a number: loss.item()",
          instead("return loss.item()", "return loss"), instead("    return loss.item()\n", "")),
     slip(lambda seen: not math.isclose(seen.returned, seen.loss, rel_tol=0.05),
          "return the loss itself, neither scaled nor divided",
          instead("return loss.item()", "return (loss / micro_batches).item()"),
          instead("return loss.item()", "return scaler.scale(loss).item()"))],
    needs="one_step", example=code,
    hint="Autocast around the forward pass; then scale, backward, unscale_, clip, step, update.",
    done="scaled, unscaled before clipping, and the update is left to the scaler",
    also=[says("def one_step(model, optimizer, scaler, inputs, targets, micro_batches):\n    return 0.0",
               "one_step never called the model")])  # fmt: skip


def two_runs(answer):
    """The losses of both runs, as their mean over the first and the last three steps."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet(f"give two lists of losses: (without, with_scaler), not {a_kind(answer)}")
    seen = SimpleNamespace(runs=[list(run) if isinstance(run, tuple | list) else [] for run in answer])
    if any(len(run) < 20 or not all(isinstance(x, float) for x in run) for run in seen.runs):
        raise NotYet("each run has to be a list of at least twenty losses, as run(…) returns it")
    seen.broken = any(not math.isfinite(x) for run in seen.runs for x in run)
    seen.lines = any(bends(run) < 10 for run in seen.runs)
    seen.first = [run[0] for run in seen.runs]
    seen.without, seen.scaled = (sum(run[-3:]) / 3 for run in seen.runs)
    return seen


def bends(run):
    """At how many steps the curve changes its slope: a measured one does nearly everywhere."""
    slopes = [after - before for before, after in itertools.pairwise(run)]
    return sum(abs(after - before) > 1e-6 for before, after in itertools.pairwise(slopes))


def straight(end, start=8.35, steps=30):
    return [start + (end - start) * min(1.0, i / (steps - 5)) for i in range(steps)]


def falling(end, start=8.35, steps=30):
    noise = [0.03 * math.sin(3 * i) for i in range(steps)]
    return [loss + off for loss, off in zip(straight(end, start, steps), noise, strict=True)]


LEARNED = 7.2  # the loss after thirty steps is about 6.5, and 7.8 without a scale
rules(
    "two-runs", two_runs,
    [slip(lambda seen: seen.broken,
          "a loss is not finite. Does the update go through scaler.step, which skips infinite gradients?",
          ([math.nan] * 30, falling(6.4))),
     slip(lambda seen: seen.lines,
          "these losses lie on straight lines, which no training does: give what run(…) returned",
          (straight(7.8), straight(6.5))),
     slip(lambda seen: abs(seen.first[0] - seen.first[1]) > 0.3,
          "the runs start from different models. Let run(…) build the model anew for each",
          (falling(7.8), falling(6.2, start=6.5))),
     slip(lambda seen: seen.scaled > LEARNED > seen.without,
          "the two have changed places: give (without, with_scaler)", (falling(6.5), falling(7.8))),
     slip(lambda seen: seen.without < LEARNED,
          "the run without a scale learns as well. Is the scaler switched off by enabled=False, and is the "
          "loss divided by 4,096 micro-batches?",
          (falling(6.5), falling(6.5))),
     slip(lambda seen: seen.scaled > LEARNED,
          "the run with the scaler does not learn. Is the scaler on, and does one_step pass its check?",
          (falling(7.8), falling(7.8)))],
    hint="run(GradScaler(\"cpu\", enabled=False)) and run(GradScaler(\"cpu\")).",
    done="without a scale fp16 stands nearly still, with it the model learns",
    also=[says(6.5, "give two lists of losses: (without, with_scaler), not a float"),
          says(([8.0], [8.0]),
               "each run has to be a list of at least twenty losses, as run(…) returns it")])  # fmt: skip

E4M3 = torch.float8_e4m3fn


def tiled(x, tile):
    return x.reshape(x.shape[0] // tile, tile, x.shape[1] // tile, tile)


def scaled(x, largest):
    scale = largest.clamp(min=1e-30) / 448
    return (x / scale).to(E4M3).float() * scale


def wrong_ways(w, tile):
    tiles = tiled(w, tile)
    largest = tiles.abs().amax((1, 3), keepdim=True)
    rows = w.reshape(w.shape[0], -1, tile)
    strips = w.reshape(-1, tile, w.shape[1])
    found = {
        "plain": w.to(E4M3).float(),
        "tensor": scaled(w, w.abs().max()),
        "row": scaled(w, w.abs().amax(1, keepdim=True)),
        "pieces": scaled(rows, rows.abs().amax(2, keepdim=True)).reshape(w.shape),
        "strips": scaled(strips, strips.abs().amax((1, 2), keepdim=True)).reshape(w.shape),
        "kept": (tiles / (largest.clamp(min=1e-30) / 448)).to(E4M3).float().reshape(w.shape),
        "e5m2": ((tiles / (largest.clamp(min=1e-30) / 57344)).to(torch.float8_e5m2).float()
                 * (largest.clamp(min=1e-30) / 57344)).reshape(w.shape),
        "e5m2 to 448": ((tiles / (largest.clamp(min=1e-30) / 448)).to(torch.float8_e5m2).float()
                        * (largest.clamp(min=1e-30) / 448)).reshape(w.shape),
        "240": ((tiles / (largest.clamp(min=1e-30) / 240)).to(E4M3).float()
                * (largest.clamp(min=1e-30) / 240)).reshape(w.shape),
        "axes": scaled(tiles, tiles.abs().amax((0, 2), keepdim=True)).reshape(w.shape),
        "narrow": ((tiles / largest.clamp(min=1e-30)).to(E4M3).float() * largest).reshape(w.shape),
    }  # fmt: skip
    return scaled(tiles, largest).reshape(w.shape), found


def fp8_seen(through_fp8_tiles):
    """How the answer's tensor compares with the right one and with those of usual slips."""
    generator = torch.Generator().manual_seed(5)
    w = torch.randn(8, 16, generator=generator) * 10.0 ** torch.randint(-5, 4, (8, 16), generator=generator)
    w[:, :4] = -w[:, :4].abs()  # tiles without a positive number
    w[4:, 12:] *= 1e-4 / w[4:, 12:].abs().max()  # a tile of small numbers
    right, ways = wrong_ways(w, 4)
    got = through_fp8_tiles(w.clone(), 4)
    if not isinstance(got, torch.Tensor):
        raise NotYet(f"return a tensor, not {a_kind(got)}")
    if got.shape != w.shape:
        raise NotYet(f"return the shape of w, {tuple(w.shape)}, not {tuple(got.shape)}")
    seen = SimpleNamespace(unchanged=torch.equal(got.float(), w), dtype=got.dtype)
    got = got.float()
    seen.way = next(
        (n for n, x in ways.items() if torch.allclose(got, x, rtol=1e-4, atol=0, equal_nan=True)), None
    )
    seen.right = torch.allclose(got, right, rtol=1e-4, atol=0)
    same = torch.isclose(got, right, rtol=1e-4, atol=0)
    seen.small = same[:, :12].all() and same[:4].all() and not seen.right
    positive = through_fp8_tiles(w.abs(), 4)
    seen.signs = not seen.right and torch.allclose(positive.float(), right.abs(), rtol=1e-4, atol=0)
    w[:4, 4:8] = 0
    seen.zeros = seen.right and not through_fp8_tiles(w, 4).isfinite().all()
    return seen


TILES = """
import torch


def through_fp8_tiles(w, tile):
    rows, columns = w.shape
    tiles = w.reshape(rows // tile, tile, columns // tile, tile)
    largest = tiles.abs().amax((1, 3), keepdim=True).clamp(min=1e-30)
    scale = largest / torch.finfo(torch.float8_e4m3fn).max
    return ((tiles / scale).to(torch.float8_e4m3fn).float() * scale).reshape(rows, columns)
"""


def tiles_with(old, new):
    assert old in TILES
    return TILES.replace(old, new)


def body(*lines):
    return "import torch\n\n\ndef through_fp8_tiles(w, tile):\n    " + "\n    ".join(lines) + "\n"


CAST = "return ((x / scale).to(torch.float8_e4m3fn).float() * scale).reshape(w.shape)"
WAYS = {
    "plain": ("this is a cast without any scale: small numbers are lost, large ones cut",
              body("return w.to(torch.float8_e4m3fn).float()")),
    "tensor": ("there is one scale for the whole tensor. Each tile x tile square gets its own",
               body("x = w", "scale = x.abs().max() / 448", CAST)),
    "row": ("there is one scale per row. A tile has as many rows as columns",
            body("x = w", "scale = x.abs().amax(1, keepdim=True) / 448", CAST)),
    "pieces": ("these are blocks of a row, as in the lesson. A tile reaches over `tile` rows, too",
               body("x = w.reshape(w.shape[0], -1, tile)",
                    "scale = x.abs().amax(2, keepdim=True) / 448", CAST)),
    "strips": ("each scale spans whole rows. A tile has `tile` columns as well",
               body("x = w.reshape(-1, tile, w.shape[1])",
                    "scale = x.abs().amax((1, 2), keepdim=True) / 448", CAST)),
    "kept": ("the numbers are still scaled: multiply by the scale after the cast",
             tiles_with(".float() * scale)", ".float())")),
    "e5m2": ("this is e5m2. The exercise asks for e4m3, whose largest number is 448",
             tiles_with("float8_e4m3fn", "float8_e5m2")),
    "e5m2 to 448": ("this is e5m2, scaled for e4m3. The exercise asks for torch.float8_e4m3fn",
                    tiles_with(".to(torch.float8_e4m3fn)", ".to(torch.float8_e5m2)")),
    "240": ("each tile's largest number becomes 240. In torch.float8_e4m3fn it can be 448",
            tiles_with("torch.finfo(torch.float8_e4m3fn).max", "240")),
    "axes": ("the largest number is taken over the tiles' places. The inside of each tile is axes 1 and 3",
             tiles_with("amax((1, 3)", "amax((0, 2)")),
    "narrow": ("each tile's largest number becomes 1, so half of the range is unused: it should become 448",
               tiles_with("largest / torch.finfo(torch.float8_e4m3fn).max", "largest")),
}  # fmt: skip
rules(
    "tiles", fp8_seen,
    [slip(lambda seen: seen.unchanged, "w comes back as it was: nothing was cast to float8",
          body("return w")),
     slip(lambda seen: seen.dtype == E4M3,
          "return fp32 numbers: cast back with .float() and multiply by the scale",
          tiles_with("((tiles / scale).to(torch.float8_e4m3fn).float() * scale)",
                     "(tiles / scale).to(torch.float8_e4m3fn)")),
     *(slip(lambda seen, way=way: seen.way == way and not seen.right, said, example)
       for way, (said, example) in WAYS.items()),
     slip(lambda seen: seen.small,
          "a tile of small numbers goes wrong: does clamp's least value reach them? Take 1e-30",
          tiles_with("min=1e-30", "min=1e-3")),
     slip(lambda seen: seen.signs,
          "tiles of negative numbers go wrong: take the largest absolute value",
          tiles_with("tiles.abs().amax((1, 3), keepdim=True).clamp(min=1e-30)",
                     "tiles.amax((1, 3), keepdim=True).clamp(min=1e-30)"),
          tiles_with("tiles.abs().amax((1, 3), keepdim=True).clamp(min=1e-30)",
                     "tiles.amax((1, 3), keepdim=True)"),
          tiles_with("tiles.abs().amax((1, 3), keepdim=True).clamp(min=1e-30)\n    scale = largest / torch"
                     ".finfo(torch.float8_e4m3fn).max",
                     "tiles.amax((1, 3), keepdim=True)\n    scale = (largest / 448).clamp(min=1e-30)")),
     slip(lambda seen: seen.zeros, "a tile of zeros gives NaN: 0 / 0. Keep the scale above zero with clamp",
          tiles_with(".clamp(min=1e-30)", "")),
     slip(lambda seen: not seen.right,
          "the result is another one. Divide each tile by its largest absolute value over 448, cast, and "
          "multiply again",
          tiles_with("(tiles / scale)", "(tiles * scale)"))],
    needs="through_fp8_tiles", example=code,
    hint="w.reshape(rows // tile, tile, columns // tile, tile) puts each tile on axes 1 and 3.",
    done="each tile has its own scale, and an outlier spoils only its tile",
    also=[says(body("return 3"), "return a tensor, not an int"),
          says(body("return w[0]"), "return the shape of w, (8, 16), not (16,)")])  # fmt: skip
