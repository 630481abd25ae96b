"""Checks of the exercises on context parallelism. The last one runs on three real ranks."""

import itertools
from types import SimpleNamespace

import torch

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip
from scaleup.parallel import long_context

# 1: combine

AXIS = "the log-sum-exp has one axis less than the result: add one with lse[..., None]"


def near(got, want):
    return got.shape == want.shape and torch.allclose(got.double(), want.double(), rtol=1e-4, atol=1e-5)


def pieces_of(scores, value, cuts):
    """(out, lse) of the attention to each set of keys."""
    made = []
    for x, v in zip(scores.split(cuts, dim=-1), value.split(cuts, dim=-2), strict=True):
        made.append((x.softmax(dim=-1) @ v, x.logsumexp(dim=-1)))
    return made


def stacked(pieces):
    out, lse = (torch.stack(each) for each in zip(*pieces, strict=True))
    return out, lse, lse[..., None]


def stale(outs, lses):
    """A running merge that weighs each set against the first one alone."""
    out, lse = outs[0], lses[0]
    for new, new_lse in zip(outs[1:], lses[1:], strict=True):
        out, _ = long_context.merge(out, lse, new, new_lse)
    return out


def combined(answer):
    """What came out for three sets of keys, and what each usual mistake would give."""
    torch.manual_seed(3)
    scores, value = torch.randn(2, 3, 4, 9, dtype=torch.float64), torch.randn(2, 3, 9, 5, dtype=torch.float64)
    want = (scores.softmax(dim=-1) @ value, scores.logsumexp(dim=-1))
    large = 1000 * scores
    seen = SimpleNamespace(missing=False, kind="", lse="")
    found = []
    for x in (scores, large):
        pieces = pieces_of(x, value, [4, 2, 3])
        try:
            got = answer([(out.clone(), lse.clone()) for out, lse in pieces])
        except RuntimeError as error:
            if "must match" in str(error) or "expand" in str(error):
                raise NotYet(AXIS) from None
            raise
        if got is None:
            raise NotYet("combine returned nothing. It has to return (out, lse)")
        if not (isinstance(got, tuple | list) and len(got) == 2 and all(map(torch.is_tensor, got))):
            raise NotYet("return two tensors: (out, lse)")
        found.append(got)
    (out, lse), (high, _) = found
    outs, lses, weights = stacked(pieces_of(scores, value, [4, 2, 3]))
    summed = weights.exp()
    two = pieces_of(scores[..., :6], value[..., :6, :], [4, 2])
    wrong = {
        "mean": outs.mean(dim=0),
        "sum": outs.sum(dim=0),
        "unnormalised": (summed * outs).sum(dim=0),
        "linear": (weights * outs).sum(dim=0) / weights.sum(dim=0),
        "two": long_context.merge(*two[0], *two[1])[0],
        "last": outs[-1],
        "first": outs[0],
        "largest": outs.gather(0, weights.argmax(dim=0, keepdim=True).expand(1, *outs.shape[1:]))[0],
        "running mean": ((outs[0] + outs[1]) / 2 + outs[2]) / 2,
        "over max": ((weights - weights.amax(dim=0)).exp() * outs).sum(dim=0),
        "turned": ((weights.logsumexp(dim=0) - weights).exp() * outs).sum(dim=0),
        "queries": (lses.softmax(dim=-1)[..., None] * outs).sum(dim=0),
        "stale": stale(*stacked(pieces_of(scores, value, [4, 2, 3]))[:2]),
        "inverse": ((-weights).exp() * outs).sum(dim=0) / (-weights).exp().sum(dim=0),
    }
    seen.right = near(out, want[0])
    seen.kind = next((name for name, each in wrong.items() if near(out, each)), "")
    wrong_lse = {
        "less": want[1] - lses.amax(0),
        "sum": lses.sum(0),
        "max": lses.amax(0),
        "mean": lses.mean(0),
        "exp": lses.exp().sum(0),
    }
    seen.lse = "" if near(lse, want[1]) else "other"
    seen.lse = next((name for name, each in wrong_lse.items() if near(lse, each)), seen.lse)
    seen.shape = out.shape != want[0].shape
    seen.axis = lse.shape != want[1].shape
    seen.overflow = seen.right and not near(high, large.softmax(dim=-1) @ value)
    return seen


def combine(body):
    return f"import torch\ndef combine(pieces):\n{textwrap_indent(body)}"


def textwrap_indent(body):
    return "".join(f"    {line}\n" for line in body.strip("\n").splitlines())


STACK = "out, lse = (torch.stack(each) for each in zip(*pieces))\nboth = lse.logsumexp(dim=0)\n"
RIGHT = f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0), both"
rules(
    "combine", combined,
    [slip(lambda s: s.shape, "out has not the shape of one of the pieces: (..., queries, dim)",
          combine("return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])")),
     slip(lambda s: s.kind in ("mean", "running mean"),
          "a plain mean counts a set of two keys as much as one of four: weigh each by exp(lse - all)",
          combine("out, lse = (torch.stack(each) for each in zip(*pieces))\n"
                  "return out.mean(0), lse.logsumexp(0)"),
          combine("out, lse = pieces[0]\nfor o, x in pieces[1:]:\n    out, lse = (out + o) / 2, "
                  "torch.logaddexp(lse, x)\nreturn out, lse")),
     slip(lambda s: s.kind == "sum", "these are the results added up. Each needs its share, exp(lse - all)",
          combine(f"{STACK}return out.sum(0), both")),
     slip(lambda s: s.kind in ("unnormalised", "over max"),
          "the weights exp(lse) do not sum to one: subtract the common lse before exp",
          combine(f"{STACK}return (out * lse.exp()[..., None]).sum(0), both"),
          combine(f"{STACK}top = lse.amax(0)\nreturn (out * (lse - top).exp()[..., None]).sum(0), top")),
     slip(lambda s: s.kind == "linear",
          "a log-sum-exp is a logarithm: the weight of a set is exp(lse), not lse",
          combine(f"{STACK}w = lse[..., None]\nreturn (out * w).sum(0) / w.sum(0), both")),
     slip(lambda s: s.kind == "queries",
          "the weights of one query's sets have to sum to one: normalise over the sets, not over the queries",
          combine(f"{STACK}return (out * lse.softmax(-1)[..., None]).sum(0), both")),
     slip(lambda s: s.kind == "stale",
          "the running lse has to grow with each set: weigh the next one against all that came before",
          combine("out, lse = pieces[0]\nfor o, x in pieces[1:]:\n    z = torch.logaddexp(lse, x)\n"
                  "    out = out * (lse - z).exp()[..., None] + o * (x - z).exp()[..., None]\n"
                  "return out, lse")),
     slip(lambda s: s.kind in ("inverse", "turned"),
          "the sign is turned: a set with a larger lse weighs more",
          combine(f"{STACK}return (out * (both - lse).exp()[..., None]).sum(0), both"),
          combine(f"{STACK}w = (-lse).softmax(0)[..., None]\nreturn (out * w).sum(0), both")),
     slip(lambda s: s.kind == "two", "only the first two sets are in it. There can be any number",
          combine("(a, x), (b, y) = pieces[:2]\nz = torch.logaddexp(x, y)\n"
                  "return a * (x - z).exp()[..., None] + b * (y - z).exp()[..., None], z")),
     slip(lambda s: s.kind == "last", "only the last set is left: what came before has to be kept",
          combine("for out, lse in pieces:\n    pass\nreturn out, lse")),
     slip(lambda s: s.kind == "first", "only the first set is in it",
          combine("return pieces[0]")),
     slip(lambda s: s.kind == "largest",
          "the set with the largest lse takes it all. The others have a share, too",
          combine(f"{STACK}best = lse.argmax(0)[None, ..., None].expand(1, *out.shape[1:])\n"
                  "return out.gather(0, best)[0], both")),
     slip(lambda s: not s.right and s.lse in ("sum", "max", "mean"),
          "the common lse is log(exp(lse) + exp(lse) + ...): torch.logaddexp of two, or torch.logsumexp",
          combine("out, lse = (torch.stack(each) for each in zip(*pieces))\nboth = lse.sum(0)\n"
                  "return (out * (lse - both).exp()[..., None]).sum(0), both")),
     slip(lambda s: not s.right, "three sets of keys do not combine to the attention to all nine",
          combine(f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0) + 1, both")),
     slip(lambda s: s.overflow,
          "right for small scores. At 1,000 exp(lse) overflows: subtract the common lse before exp",
          combine(f"{STACK}w = lse.exp()[..., None]\nreturn (out * w).sum(0) / w.sum(0), both")),
     slip(lambda s: s.axis, "out is right. lse has to keep its shape, without an axis of length one",
          combine(f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0), both[..., None]")),
     slip(lambda s: s.lse == "less", "out is right. To lse add the maximum that you had subtracted",
          combine(f"{STACK}top = lse.amax(0)\nw = (lse - top).exp()\n"
                  "return (out * w[..., None]).sum(0) / w.sum(0)[..., None], w.sum(0).log()")),
     slip(lambda s: s.lse == "exp", "out is right. For lse take the logarithm of the sum",
          combine(f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0), lse.exp().sum(0)")),
     slip(lambda s: s.lse,
          "out is right, and lse is not: it is the log-sum-exp of all keys, so that more can be added later",
          combine(f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0), lse.sum(0)"),
          combine(f"{STACK}return (out * (lse - both).exp()[..., None]).sum(0), pieces[-1][1]"))],
    needs="combine", example=code,
    hint="The weight of a set is exp(lse). Divide all weights by their sum, and mind large numbers.",
    done="three sets, scores of 1,000, and a log-sum-exp that can be used again",
    also=[says(combine("return pieces[0][0]"), "return two tensors: (out, lse)"),
          says(combine("return None"), "combine returned nothing. It has to return (out, lse)"),
          says(combine(f"{STACK}return (out * (lse - both).exp()).sum(0), both"),
               AXIS)])  # fmt: skip

# 2: cut

RANGE = "an index is out of range: of 2 x size chunks the last has the number 2 x size - 1"


def cuts(answer):
    """All ranks of two sizes: which places the inputs have, and what is odd about the rest."""
    seen = SimpleNamespace(short=False, inputs="", targets="", positions="", order=False)
    alike, swapped, wraps = {"contiguous", "half", "stripes"}, True, True
    for size, seq in ((2, 16), (4, 32)):
        text = torch.stack((torch.arange(seq + 1), torch.arange(seq + 1) + 100))
        per = seq // size
        want = long_context.order(seq, size)
        chunks = torch.arange(seq).view(2 * size, -1)
        layouts = {
            "contiguous": torch.arange(seq).view(size, -1),
            "half": torch.stack([torch.cat((chunks[r], chunks[size + r])) for r in range(size)]),
            "stripes": torch.arange(seq).view(-1, size).T,
        }
        for rank in range(size):
            try:
                got = answer(text.clone(), rank, size)
            except IndexError:
                raise NotYet(RANGE) from None
            if got is None:
                raise NotYet("cut returned nothing. It has to return (inputs, targets, positions)")
            if not (isinstance(got, tuple | list) and len(got) == 3 and all(map(torch.is_tensor, got))):
                raise NotYet("return three tensors: (inputs, targets, positions)")
            inputs, targets, positions = got
            if inputs.dim() != 2 or targets.shape != inputs.shape or len(inputs) != 2:
                raise NotYet("inputs and targets have to be of the shape (batch, seq / size)")
            seen.short = seen.short or inputs.shape[1] != per
            if seen.short:
                continue
            own = inputs[0]
            swapped = swapped and torch.equal(inputs, targets + 1) and torch.equal(targets[0], want[rank])
            wraps = wraps and torch.equal(targets, (inputs + 1) % 100 % seq + inputs // 100 * 100)
            if not torch.equal(own, want[rank]):
                if torch.equal(own.sort().values, want[rank]):
                    seen.order = True
                else:
                    seen.inputs = "other"
            alike = {name for name in alike if torch.equal(own, layouts[name][rank])}
            if not torch.equal(targets, inputs + 1):
                seen.targets = "inputs" if torch.equal(targets, inputs) else "shifted"
            rows = positions.flatten().tolist()
            rows = rows[:per] if rows[:per] * len(text) == rows else rows  # (seq,) or (batch, seq)
            if rows != own.tolist():
                zero = rows == list(range(per))
                seen.positions = "zero" if zero else "other"
    seen.inputs = seen.inputs and next(iter(alike), "swapped" if swapped else "other")
    seen.targets = "wraps" if seen.targets and wraps else seen.targets
    return seen


def cut(body):
    return f"import torch\ndef cut(text, rank, size):\n{textwrap_indent(body)}"


def taken(places, rest="return text[:, places], text[:, places + 1], places"):
    return cut(f"seq = text.shape[1] - 1\nchunks = torch.arange(seq).view(2 * size, -1)\n{places}\n{rest}")


ZIGZAG = "places = torch.cat((chunks[rank], chunks[2 * size - 1 - rank]))"
rules(
    "cut", cuts,
    [slip(lambda s: s.short,
          "a rank has not seq / size tokens: shift first (text[:, :-1] and text[:, 1:]), then cut both",
          cut("seq = text.shape[1] - 1\nchunks = torch.arange(seq).view(2 * size, -1)\n"
              "own = text[:, torch.cat((chunks[rank], chunks[2 * size - 1 - rank]))]\n"
              "return own[:, :-1], own[:, 1:], torch.arange(own.shape[1] - 1)")),
     slip(lambda s: s.inputs == "half",
          "rank r has the chunks r and size + r: later ranks still have more work. The late one is 2 x size "
          "- 1 - r",
          taken("places = torch.cat((chunks[rank], chunks[size + rank]))")),
     slip(lambda s: s.inputs == "contiguous",
          "these parts are contiguous: the last rank has most of the work. Take an early and a late chunk",
          taken("places = torch.arange(seq).view(size, -1)[rank]")),
     slip(lambda s: s.inputs == "stripes",
          "these are stripes. They are almost balanced, but the exercise asks for the zig-zag",
          taken("places = torch.arange(rank, seq, size)")),
     slip(lambda s: s.inputs == "swapped", "inputs and targets are swapped: inputs come first",
          taken(ZIGZAG, "return text[:, places + 1], text[:, places], places")),
     slip(lambda s: s.inputs, "of 2 x size chunks rank r has the chunks r and 2 x size - 1 - r",
          taken("places = torch.cat((chunks[rank], chunks[-2 - rank]))")),
     slip(lambda s: s.order,
          "the early chunk comes first: the causal mask of a rank's own part counts on the order",
          taken("places = torch.cat((chunks[2 * size - 1 - rank], chunks[rank]))")),
     slip(lambda s: s.targets == "inputs", "the targets are the inputs: a target is the next token",
          taken(ZIGZAG, "return text[:, places], text[:, places], places")),
     slip(lambda s: s.targets == "wraps",
          "the last target of the sequence wraps round to the first token. text has one token more than "
          "there are inputs: take text[:, 1:] instead of a roll",
          taken(ZIGZAG, "return text[:, places], text[:, :-1].roll(-1, dims=1)[:, places], places")),
     slip(lambda s: s.targets,
          "some target is not the next token of its input. The one after a chunk's last token is on another "
          "rank: shift before you cut",
          taken(ZIGZAG, "return text[:, places], text[:, places].roll(-1, dims=1), places")),
     slip(lambda s: s.positions == "zero",
          "each rank counts its positions from 0. They are the places of its tokens in the whole sequence",
          taken(ZIGZAG, "return text[:, places], text[:, places + 1], torch.arange(len(places))")),
     slip(lambda s: s.positions, "the positions are not the places of the inputs in the whole sequence",
          taken(ZIGZAG, "return text[:, places], text[:, places + 1], places + 1"),
          taken(ZIGZAG, "return text[:, places], text[:, places + 1], (places + 1).expand(len(text), -1)"))],
    needs="cut", example=code,
    hint="Work out the places of the rank's tokens first. Inputs, targets and positions follow from them.",
    done="early and late chunks, targets of the right tokens, positions of the whole sequence",
    also=[says(cut("return text"), "return three tensors: (inputs, targets, positions)"),
          says(cut("return None"),
               "cut returned nothing. It has to return (inputs, targets, positions)"),
          says(taken(ZIGZAG, "return text[0, places], text[0, places + 1], places"),
               "inputs and targets have to be of the shape (batch, seq / size)"),
          says(taken("places = torch.cat((chunks[rank], chunks[2 * size - rank]))"),
               RANGE)])  # fmt: skip

# 3: bytes

formula(
    "bytes", "sent(n, t, k)", "8 * (2 * n - 1) * t * k", [(2, 1000, 64), (4, 4096, 1024), (16, 8192, 1024)],
    {"4 * (n - 1) * t * k": "this is the forward pass alone",
     "(12 * n - 4) * t * k": "this is the backward pass alone. Keys and values go round forward, too",
     "8 * (n - 1) * t * k": "these are the keys and values of both passes, without the gradients",
     "4 * (3 * n - 2) * t * k": "the gradients travel in fp32: 4 bytes for each number",
     "8 * (3 * n - 2) * t * k": "keys and values travel in bf16: 2 bytes for each number",
     "16 * (n - 1) * t * k": "the gradients take n steps: after n - 1 they are one rank from home",
     "12 * (n - 1) * t * k": "the gradients travel in fp32, and they take n steps to get home",
     "16 * (n - 1) / n * t * k": "these are the bytes of an all-to-all, forward and backward",
     "64 * (2 * n - 1) * t * k": "these are bits: a byte has eight",
     "16 * n * t * k": "keys and values take n - 1 steps: after the last piece nobody needs them",
     "8 * n * t * k": "these are the gradients alone",
     "4 * (2 * n - 1) * t * k": "this is half of it: keys and values are two tensors, their gradients, too",
     "2 * (n - 1) * t * k": "this is one of the two tensors, in the forward pass alone"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:,.0f}, yours is {off.got:,.0f}",
    hint="Add up: forward keys and values, backward keys and values, gradients of both.",
    done="4 (n - 1) t k forward, and 4 (n - 1) t k + 8 n t k backward",
    also=[says("def sent(n, t, k):\n    return 7 * t * k",
               "for (2, 1000, 64) the right number is 1,536,000, yours is 448,000")])  # fmt: skip

# 4: which way

WAYS = ("all-to-all", "ring", "none")
BEST = ("all-to-all", "ring", "ring", "none")
SPELT = {"alltoall": "all-to-all", "ulysses": "all-to-all", "ring": "ring", "none": "none", "neither": "none"}


def named(answer):
    given = answer if isinstance(answer, tuple | list) else ()
    if len(given) != 4 or not all(isinstance(name, str) for name in given):
        raise NotYet("give four words in quotes: (first, second, third, fourth)")
    if "..." in given:
        raise NotYet("write your answer where the … stands")
    plain = [name.strip().lower().replace("-", "").replace("_", "").replace(" ", "") for name in given]
    for name, word in zip(given, plain, strict=True):
        if word not in SPELT:
            raise NotYet(f"'{name:.30}' is none of 'all-to-all', 'ring' and 'none'")
    return tuple(SPELT[word] for word in plain)


def at(place, way):
    return lambda ways: ways[place] == way


def but(place, way):
    return tuple(way if n == place else best for n, best in enumerate(BEST))


rules(
    "ways", named,
    [slip(at(0, "ring"),
          "first: a ring would work, too. The rule asks for heads of keys first: tp 2 leaves 4, "
          "one for each of the 4 ranks", but(0, "ring")),
     slip(at(0, "none"), "first: tp 2 leaves 4 heads of keys, one for each of the 4 ranks", but(0, "none")),
     slip(at(1, "all-to-all"), "second: 4 heads of keys cannot be shared out to 8 ranks",
          but(1, "all-to-all")),
     slip(at(1, "none"), "second: inside a node of LUMI-G a ring hides from some hundred tokens per rank",
          but(1, "none")),
     slip(at(2, "all-to-all"),
          "third: the heads would do, but half of the data would cross the network while all wait. With "
          "16,384 tokens per rank a ring hides", but(2, "all-to-all")),
     slip(at(2, "none"), "third: 16,384 tokens per rank are more than the 5,862 from which a ring hides",
          but(2, "none")),
     slip(at(3, "all-to-all"), "fourth: tp 8 leaves one head of keys, which four ranks cannot share",
          but(3, "all-to-all")),
     slip(at(3, "ring"), "fourth: between nodes of LUMI-G a ring hides from 3,360 tokens per rank, and here "
          "there are 2,048", but(3, "ring"))],
    hint="Heads of keys over tp, against the ranks. Then the tokens per rank, against the lesson's numbers.",
    done="heads first, then the link",
    also=[says("ring", "give four words in quotes: (first, second, third, fourth)"),
          says(("...",) * 4, "write your answer where the … stands"),
          says(but(0, "star"), "'star' is none of 'all-to-all', 'ring' and 'none'"),
          says(but(1, "Ulysses"), "second: 4 heads of keys cannot be shared out to 8 ranks")])  # fmt: skip

# 5: the ring


def on_a_rank(answer):
    """One rank's view of both layouts: what its function returned, and what went wrong."""
    import os
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    everything = torch.randn(3, 1, 2, 12, 4, generator=torch.Generator().manual_seed(5))
    chunks = torch.arange(12).view(6, 2)
    layouts = {
        "contiguous": chunks.view(3, 4),
        "zig-zag": torch.stack([torch.cat((chunks[r], chunks[5 - r])) for r in range(3)]),
    }
    seen = {"error": "", "hangs": False, "found": {}}
    dist.barrier()
    for name, places in layouts.items():
        try:
            got = answer(*everything[..., places[rank], :], places.clone())
            got = got[0] if isinstance(got, tuple | list) and len(got) else got
            seen["found"][name] = got.tolist() if torch.is_tensor(got) else None
        except RuntimeError as error:
            seen["hangs"] = any(w in str(error) for w in ("Timed out", "Connection closed", "reset by"))
            seen["error"] = "" if seen["hangs"] else str(error).splitlines()[0]
            break
        except Exception as error:
            seen["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            break
    return seen | {"rank": rank, "size": size}


FLAGS = ("mean", "skips", "label", "own mask", "early", "late", "turned", "swapped", "unmasked", "stale")


def simulated(layout, rank, flags):
    """What rank `rank` would return with these mistakes."""
    everything = torch.randn(3, 1, 2, 12, 4, generator=torch.Generator().manual_seed(5))
    chunks = torch.arange(12).view(6, 2)
    zigzag = torch.stack([torch.cat((chunks[r], chunks[5 - r])) for r in range(3)])
    places = chunks.view(3, 4) if layout == "contiguous" else zigzag
    query = everything[0][..., places[rank], :]
    out = lse = None
    for step in range(2 if "early" in flags else 3):
        held = (rank - max(0, step - 1) if "late" in flags else rank - step) % 3
        source = (rank + step if "label" in flags else rank - step) % 3
        if "skips" in flags and source > rank:
            continue
        key, value = (x[..., places[held], :] for x in everything[1:])
        mine, theirs = places[rank][:, None], places[rank if "own mask" in flags else source]
        hidden = mine > theirs if "turned" in flags and step else mine < theirs
        hidden = hidden if "swapped" not in flags or step == 0 else theirs[:, None] < mine.T
        hidden = hidden & (step == 0) if "unmasked" in flags else hidden
        x = (query @ key.mT / 2).masked_fill(hidden, -1e30)
        new_lse = x.logsumexp(dim=-1, keepdim=True)
        new = (x - new_lse).exp() @ value
        if out is None:
            out, lse = new, new_lse
            continue
        both = torch.logaddexp(lse, new_lse)
        right = out * (lse - both).exp() + new * (new_lse - both).exp()
        out, lse = (out + new) / 2 if "mean" in flags else right, lse if "stale" in flags else both
    return out


def three_ranks(answer):
    try:
        every = ranks.call(on_a_rank, 3, answer, timeout=60, join=False)
    except ranks.RanksFailed as error:
        if "did not make the same call" not in str(error):
            raise
        raise NotYet(HANGS) from None
    seen = SimpleNamespace(hangs=any(each["hangs"] for each in every), flags=None)
    seen.error = next((each["error"] for each in every if each["error"] and not seen.hangs), "")
    seen.nothing = not seen.hangs and any(None in each["found"].values() for each in every)
    if seen.hangs or seen.error or seen.nothing:
        return seen
    got = {(each["rank"], name): torch.tensor(out) for each in every for name, out in each["found"].items()}
    for count in range(4):
        for flags in itertools.combinations(FLAGS, count):
            fits = (near(out, simulated(name, rank, flags)) for (rank, name), out in got.items())
            if seen.flags is None and all(fits):
                seen.flags = flags
    return seen


HANGS = (
    "it hangs: some rank passes nothing on where its neighbour waits. Every rank has to pass on in every "
    "step, also what it does not need itself"
)
HELPERS = """
import torch
import torch.distributed as dist


def pass_on(tensor):
    rank, size = dist.get_rank(), dist.get_world_size()
    came = torch.empty_like(tensor)
    receiving = dist.irecv(came, src=(rank - 1) % size)
    sending = dist.isend(tensor, dst=(rank + 1) % size)
    receiving.wait(), sending.wait()
    return came


def attend(query, key, value, hidden):
    x = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(hidden, -1e30)
    lse = x.logsumexp(dim=-1, keepdim=True)
    return (x - lse).exp() @ value, lse


def merge(out, lse, new, new_lse):
    both = torch.logaddexp(lse, new_lse)
    return out * (lse - both).exp() + new * (new_lse - both).exp(), both


"""


def ring(first="held = pass_on(held)", source="rank - step", skip="", mask="places[source]", turned=False,
         merged="merge(out, lse, new, new_lse)", end="return out", steps="size", end_of_step=""):  # fmt: skip
    loop = [first] if first else []
    loop.append(f"source = ({source}) % size")
    loop += skip.splitlines()
    sign = ">" if turned else "<"
    loop += [
        f"new, new_lse = attend(query, *held, places[rank][:, None] {sign} {mask})",
        f"out, lse = {merged}",
    ]
    loop += [end_of_step] if end_of_step else []
    body = ["rank, size = dist.get_rank(), dist.get_world_size()", "held = torch.stack((key, value))",
            "out, lse = attend(query, key, value, places[rank][:, None] < places[rank])",
            f"for step in range(1, {steps}):", *(f"    {line}" for line in loop), end]  # fmt: skip
    return f"{HELPERS}def ring(query, key, value, places):\n{textwrap_indent(chr(10).join(body))}"


AFTER = "if source > rank:\n    continue\nheld = pass_on(held)"
MEAN = "(out + new) / 2, torch.logaddexp(lse, new_lse)"


def has(flag):
    return lambda seen: seen.flags is not None and flag in seen.flags


rules(
    "ring", three_ranks,
    [slip(lambda s: s.hangs, HANGS, ring(first="", skip=AFTER)),
     slip(lambda s: s.error, "on three ranks your function raised {error}",
          says(ring(end="return out / 'a'"),
               error="TypeError: unsupported operand type(s) for /: 'Tensor' and 'str'")),
     slip(lambda s: s.nothing, "some rank got nothing back. Every rank returns the result of its own queries",
          ring(end="if rank == 0:\n    return out")),
     slip(has("own mask"),
          "the mask compares the rank's positions with its own: what came are the keys of another rank",
          ring(mask="places[rank]"), ring(mask="places[rank]", source="rank + step", merged=MEAN)),
     slip(has("unmasked"), "what comes is not masked: a query must not see later keys of other ranks, either",
          ring(mask="-1 * places[source] - 1")),
     slip(lambda s: has("turned")(s) or has("swapped")(s),
          "the mask is turned: rows are this rank's queries, and hidden are keys of a later position",
          ring(mask="places[source]", turned=True),
          ring().replace("places[rank][:, None] < places[source]", "places[source][:, None] < places[rank]")),
     slip(has("late"),
          "the rank attends to what it held before, with the mask for what comes: pass on first in each step",
          ring(first="", end_of_step="held = pass_on(held)")),
     slip(has("label"),
          "the mask takes the positions of the wrong rank: keys come from the left, so in step s they are "
          "those of rank - s",
          ring(source="rank + step"), ring(source="rank + step", merged=MEAN)),
     slip(has("mean"),
          "two results are averaged as if both had seen equally much: weigh them by their log-sum-exp, as "
          "merge does",
          ring(merged=MEAN), ring(merged=MEAN, skip="if source > rank:\n    continue")),
     slip(has("stale"),
          "the running log-sum-exp stays that of the own keys: keep both of what merge returns, or later "
          "pieces weigh too much",
          ring(merged="merge(out, lse, new, new_lse)[0], lse")),
     slip(has("skips"),
          "right for contiguous parts. In a zig-zag late queries see keys of later ranks: skip nothing",
          ring(skip="if source > rank:\n    continue")),
     slip(has("early"), "the last piece is missing: there are size - 1 steps after the own keys",
          ring(steps="size - 1")),
     slip(lambda s: s.flags != (),
          "the result is not the attention to the whole sequence. Check whose keys came, the mask, and how "
          "results are merged",
          ring(end="return out + 1"))],
    needs="ring", example=code, limit=90,
    hint="Pass on in every step. Whose keys are these? Compare with their positions, then merge.",
    done="three ranks, contiguous and zig-zag, equal one")  # fmt: skip
