"""Checks of the exercises on scaling laws. The made-up runs of the first one follow laws that are known."""

import functools
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from scaleup.decide import scaling_runs
from scaleup.exercises import NotYet, close, code, rules, says, slip
from scaleup.words import a_kind

NAMES = ("E", "A", "alpha", "B", "beta")
QUIET = (1.5, 0.6, 0.3, 2.5, 0.5)  # any loss finds this law: it shows other mistakes
FOUND, WIDTHS = (1.8, 0.427, 0.36, 1.812, 0.45), (0.08, 0.059, 0.03, 0.088, 0.03)  # by the Huber loss


def made_runs(law, scatter=0.0, wrong=1.0):
    """N and D in millions, and L, of 24 runs of a law: with a scatter, and one run may go wrong."""
    E, A, alpha, B, beta = law
    sizes = torch.logspace(-2, 1, 6, dtype=torch.float64)
    N, D = (part.flatten() for part in torch.meshgrid(sizes, sizes[:4] * 60, indexing="ij"))
    noise = torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    L = (E + A / N**alpha + B / D**beta) * torch.exp(scatter * noise)
    L[9] *= wrong
    return N, D, L


ALL_RIGHT, ONE_WRONG = made_runs(QUIET), made_runs((1.8, 0.42, 0.36, 1.8, 0.45), 0.003, 1.25)


def numbers(answer, count, words):
    """The answer as floats, or a sentence that says what is wanted."""
    try:
        found = [float(value) for value in answer]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise NotYet(f"the check needs {words}")
    if not all(map(math.isfinite, found)):
        raise NotYet("a number is not finite. A search runs away if its loss has no smallest value")
    return found


def number(words):
    return lambda answer: numbers([answer], 1, words)[0]


def near(slips, within, of=lambda seen: seen):
    """A row for each {number: sentence}; the number is an example of itself."""
    return [slip(lambda seen, n=n: close(of(seen), n, within), said, n) for n, said in slips.items()]


def two_fits(answer):
    """The numbers for the runs of which one went wrong, and as `quiet` those for the others."""
    fits = []
    for runs in (ALL_RIGHT, ONE_WRONG):
        given = answer(*(part.clone() for part in runs))
        five = numbers(given, 5, "five numbers from fit_law: E, A, alpha, B, beta")
        fits.append(SimpleNamespace(**dict(zip(NAMES, five, strict=True)), all=five))
    quiet, seen = fits
    seen.quiet, quiet.right = quiet, close(quiet.all, QUIET, 0.02)
    seen.off = any(abs(x - y) > width for x, y, width in zip(seen.all, FOUND, WIDTHS, strict=True))
    return seen


FIT = """
import math
import torch
from torch.nn.functional import huber_loss, l1_loss, mse_loss
def fit_law(N, D, L):
    theta = torch.tensor([0.5, 0.0, 0.4, 0.0, 0.4], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([theta], max_iter=1000, line_search_fn="strong_wolfe", tolerance_change=1e-14)
    def closure():
        search.zero_grad()
        e, a, alpha, b, beta = theta
        law = torch.stack([e.expand_as(N), a - alpha * N.log(), b - beta * D.log()]).logsumexp(0)
        loss = huber_loss(law, L.log(), delta=0.01)
        loss.backward()
        return loss
    search.step(closure)
    e, a, alpha, b, beta = theta.tolist()
    E, A, B = math.exp(e), math.exp(a), math.exp(b)
    return [E, A, alpha, B, beta]
"""
LOSS, TERMS = "huber_loss(law, L.log(), delta=0.01)", "N.log(), b - beta * D.log()"


def fit_with(change):
    """FIT with another list returned, or with the pair's first piece replaced by its second."""
    return code(FIT.replace(*(change if isinstance(change, tuple) else ("[E, A, alpha, B, beta]", change))))


@functools.cache
def fitted(change, runs):
    return fit_with(change)(*runs)


# fmt: off
LAWS = {  # an answer that finds in the quiet runs what one of these changes of FIT finds has made it too
    "L.log() is compared with the law itself: take the logarithm of the law too":
        [(".logsumexp(0)", ".exp().sum(0)")],
    "the three logarithms are added. The logarithm of the law is torch.stack(terms).logsumexp(0)":
        [(".logsumexp(0)", ".sum(0)")],
    "the logarithm of N ** -alpha is -alpha * N.log(): a term has N or D without .log()":
        [("N.log(), b", "N, b"), ("D.log()]", "D]"), (TERMS, "N, b - beta * D")],
    "a number keeps the value that the search starts with: its term is not in the sum":
        [("e.expand_as(N), ", ""), ("a - alpha * N.log(), ", ""), (", b - beta * D.log()", "")],
    "one exponent keeps the value that the search starts with: is the other in both terms?":
        [("beta * D", "alpha * D"), ("alpha * N", "beta * N")],
    "both terms use N, or both use D. They are a - alpha * N.log() and b - beta * D.log()":
        [("D.log()]", "N.log()]"), ("N.log(), b", "D.log(), b")],
    "N, D and L need the natural logarithm, .log(): .log10() and .log2() are others":
        [("L.log()", "L.log10()"), ("L.log()", "L.log2()"), (TERMS, "N.log10(), b - beta * D.log10()"),
         (TERMS, "N.log2(), b - beta * D.log2()")],
    "A and B are for single parameters and tokens: N and D are in millions already":
        [(TERMS, "(1e6 * N).log(), b - beta * (1e6 * D).log()")],
    "N and D are swapped: A and alpha belong to the parameters N, B and beta to the tokens D":
        [(TERMS, "D.log(), b - beta * N.log()"), "[E, B, beta, A, alpha]"],
    "alpha and beta are swapped: alpha belongs to the parameters N, beta to the tokens D":
        ["[E, A, beta, B, alpha]"],
    "A and B are swapped: A belongs to the parameters N, B to the tokens D": ["[E, B, alpha, A, beta]"],
    "A and B are still logarithms: return exp() of a and of b": ["[E, a, alpha, b, beta]"],
    "alpha and beta are not logarithms: return them without exp()":
        ["[E, A, math.exp(alpha), B, math.exp(beta)]"],
}
SQUARED = {(LOSS, "huber_loss(law, L.log(), reduction='sum')"): (1.40, 0.30, 0.36),
           (LOSS, "mse_loss(law, L.log())"): (1.40, 0.30, 0.36),
           (LOSS, "mse_loss(law.exp(), L)"): (1.21, 0.28, 0.32),
           (LOSS, "huber_loss(law, L.log(), delta=0.1)"): (1.60, 0.32, 0.40)}  # fmt: skip
rules(
    "fit", two_fits,
    [*(slip(lambda seen, changes=changes: not seen.quiet.right and any(
           close(seen.quiet.all, fitted(change, ALL_RIGHT), 0.02) for change in changes), said, *changes)
       for said, changes in LAWS.items()),
     slip(lambda seen: seen.quiet.E > 7, "the law is a logarithm here and L is not: compare it with L.log()",
          (LOSS, "huber_loss(law, L, delta=0.01)"), (LOSS, "mse_loss(law, L)"), (LOSS, "l1_loss(law, L)")),
     slip(lambda seen: abs(seen.quiet.E - math.log(1.5)) < 0.05,
          "E is still a logarithm: return exp() of it, and of a and b", "[e, a, alpha, b, beta]"),
     slip(lambda seen: min(seen.quiet.alpha, seen.quiet.beta) < 0,
          "an exponent is negative, so the loss would grow with the model or the text. Check the signs, and "
          "the units: N and D are in millions already",
          ("a - alpha", "a + alpha")),
     slip(lambda seen: not seen.quiet.right and close(sorted(seen.quiet.all), sorted(QUIET), 0.02),
          "the five numbers are right and their order is not: return E, A, alpha, B, beta",
          "[E, A, B, alpha, beta]", "[B, A, alpha, E, beta]"),
     slip(lambda seen: abs(seen.quiet.E) < 0.3,
          "E is about 0: the law needs a loss that no model gets rid of. Is its term in the sum?",
          "[0.0, A, alpha, B, beta]"),
     *(slip(lambda seen, n=n: close([*seen.quiet.all[:n], *seen.quiet.all[n + 1:]],
                                    [*QUIET[:n], *QUIET[n + 1:]], 0.02) and not seen.quiet.right,
            f"{NAMES[n]} = {{{NAMES[n]}:.3g}} is off, though E and the exponents are right",
            says(given, **{NAMES[n]: 1e9}))
       for n, given in {1: "[E, 1e9, alpha, B, beta]", 3: "[E, A, alpha, 1e9, beta]"}.items()),
     slip(lambda seen: not seen.quiet.right,
          lambda seen: f"runs of the law {QUIET} without any scatter give you "
          f"({', '.join(f'{x:.2f}' for x in seen.quiet.all)})",
          says("[1.4, 0.7, 0.2, 2.6, 0.4]",
               "runs of the law (1.5, 0.6, 0.3, 2.5, 0.5) without any scatter give you (1.40, 0.70, 0.20, "
               "2.60, 0.40)")),
     slip(lambda seen: any(close(seen.all, fitted(change, ONE_WRONG), 0.01) for change in SQUARED),
          "E = {E:.2f}, alpha = {alpha:.2f}, beta = {beta:.2f} are off. One of the runs went wrong, and a "
          "squared error follows it. Huber with a large delta is a squared error here",
          *(says(change, E=e, alpha=a, beta=b) for change, (e, a, b) in SQUARED.items())),
     slip(lambda seen: seen.off,
          "with the run that went wrong E is {E:.2f}, without it your law is right. Take huber_loss with "
          "delta=0.01: a larger delta follows it, and the absolute error stops the search too early",
          says((LOSS, "l1_loss(law, L.log())"), E=1.40), says((LOSS, LOSS.replace("0.01", "0.05")), E=1.71))],
    needs="fit_law", example=fit_with, limit=60,
    hint="Minimise huber_loss(logarithm of the law, L.log(), delta=0.01); return exp() of e, a and b.",
    done=lambda seen: f"E = {seen.E:.2f}, alpha = {seen.alpha:.2f}, beta = {seen.beta:.2f}, "
         "although one run went wrong",
    also=[says("E", "the check needs five numbers from fit_law: E, A, alpha, B, beta"),
          says("[E, A, alpha, B, math.inf]",
               "a number is not finite. A search runs away if its loss has no smallest value")])  # fmt: skip

BUDGET = 4e11
GRID = [row for row in scaling_runs.load() if row.purpose == "grid"]
TRAPS = {  # made-up widths: 6 N D in shares of the budget, and the share when the schedule is over
    1000: (1, 1), 1001: (1, 2), 1002: (0.5, 1), 1003: (1 / 1.4, 1 / 1.4), 1004: (1 / 0.6, 1 / 0.6),
    1005: (6, 6), 1006: (3, 3), 1007: (0.9, 0.9), 1008: (1.1, 1.1),
}
ROWS = GRID + [
    replace(GRID[0], dim=dim, parameters=1_000_000, embedding=400_000, tokens=round(now * BUDGET / 6e6),
            schedule_tokens=round(end * BUDGET / 6e6)) for dim, (now, end) in TRAPS.items()
]
DIMS, LOSSES = [row.dim for row in ROWS], [row.validation_loss for row in ROWS]
WANT = {row.dim: row.validation_loss for row in ROWS
        if row.finished and abs(6 * row.parameters * row.tokens / BUDGET - 1) < 0.02}
ISO = """
def on_budget(rows, budget):
    points = {}
    for row in rows:
        spent = 6 * row.parameters * row.tokens
        if row.finished and abs(spent / budget - 1) < 0.02:
            points[row.dim] = row.validation_loss
    return points
"""


def points(answer):
    found = answer(list(ROWS), BUDGET)
    if not isinstance(found, dict):
        raise NotYet(f"on_budget has to return a dictionary from width to loss, not {a_kind(found)}")
    return found


rules(
    "isoflop", points,
    [slip(lambda found: any(dim not in DIMS or loss not in LOSSES for dim, loss in found.items()),
          "the dictionary goes from row.dim to row.validation_loss", ("[row.dim]", "[row.parameters]"),
          ("row.validation_loss", "row")),
     slip(lambda found: 1001 in found or 1002 in found,
          "some of these runs were looked at on their way, with a learning rate that was still high",
          ("row.finished", "not row.finished"), ("row.finished and ", ""),
          ("row.tokens\n        if row.finished and", "row.schedule_tokens\n        if")),
     slip(lambda found: 1007 in found or 1008 in found,
          "runs more than 2 % off the budget are taken too: compare the distance, abs(spent / budget - 1)",
          ("abs(", "("), ("0.02", "0.2"), (" and abs(spent / budget - 1) < 0.02", "")),
     slip(lambda found: 1003 in found or 1004 in found,
          "finished runs are missing. The embedding costs no FLOPs; row.parameters is already without it",
          *(("row.parameters", f"(row.parameters {sign} row.embedding)") for sign in "+-")),
     slip(lambda found: 1005 in found or 1006 in found, "a run costs 6 N D: 2 N D forward, 4 N D backward",
          ("6 *", ""), ("6", "2")),
     slip(lambda found: found.items() < WANT.items(),
          "runs of this budget are missing. Is 6 N D compared in shares of it, and every row looked at?",
          ("    return", "        return"), ("0.02", "0.00001")),
     slip(lambda found: found != WANT, "these are not the runs whose 6 N D is within 2 % of the budget",
          ("points = {}", "points = {8: 4.9625}"))],
    needs="on_budget", example=lambda change: code(ISO.replace(*change)),
    hint="Look at the two conditions: which parameters cost FLOPs, and was the run at its end?",
    done=f"{len(WANT.keys() - TRAPS.keys())} finished runs that cost the same",
    also=[says(("return points", "return list(points.values())"),
               "on_budget has to return a dictionary from width to loss, not a list")])  # fmt: skip

N, D = 872_448, 305_664  # of the run that was kept out


def loss_of(parameters, tokens, E=2.84, A=72.7, alpha=0.392, B=193.0, beta=0.392):
    """As printed in the lesson: the law with one exponent."""
    return E + A / parameters**alpha + B / tokens**beta


RIGHT = loss_of(N, D)
(ENDED,) = (row.validation_loss for row in scaling_runs.load()
            if (row.dim, row.tokens) == (96, D) and row.finished)
rules(
    "forecast", number("one number, the loss in nats"),
    [*near({loss_of(N + 96 * 4096, D): "this counts the embedding too; the law was fitted without it"}, 2e-5),
     slip(lambda got: 0.004 <= abs(got / RIGHT - 1) < 0.012,
          "near, but the scatter of a run is not larger than what is missing: give three digits", 4.5),
     *near({RIGHT - 2.84: "this leaves out E, the loss that stays whatever you spend",
            math.log(RIGHT): "this is the logarithm of the loss. Take exp() of it",
            math.exp(RIGHT): "this is exp() of the loss. The law gives the loss itself",
            loss_of(D, N): "N and D are swapped",
            loss_of(N, D, A=0): "the term of the model, A / N^alpha, is missing",
            loss_of(N, D, B=0): "the term of the text, B / D^beta, is missing",
            loss_of(N, D, alpha=1, beta=1): "almost only E is left: raise N to alpha and D to beta",
            loss_of(N, D, A=-72.7, B=-193): "add the terms of N and D to E, do not subtract them",
            loss_of(N / 1e6, D / 1e6): "this law is for single parameters and tokens, not for millions",
            loss_of(N, D, alpha=-0.392, beta=-0.392): "divide A and B by the powers of N and D",
            loss_of(N - 96 * 4096, D): "872,448 is already without the embedding: subtract nothing",
            4.72: "this is what the law with two exponents says. Take the one that is printed here"},
           2e-3),
     slip(lambda got: abs(got / RIGHT - 1) >= 0.004,
          lambda got: f"{got:.3g} nats is not what this law says. "
          "Put N and D into the three terms and add them up",
          says(7, "7 nats is not what this law says. Put N and D into the three terms and add them up"))],
    hint="E + A / N^alpha + B / D^beta, with N = 872,448 and D = 305,664.",
    done=f"the law says {RIGHT:.2f}; the run, which no fit has seen, ended at {ENDED:.2f}",
    also=[says("4.5 nats", "the check needs one number, the loss in nats")])  # fmt: skip

MAIN, OWN = 0.70 * 2_000_000 * 3600 * 312e12 * 0.38, 1.2e12
REPLICATION = {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658}


def spending(answer):
    N, D = numbers(answer if isinstance(answer, tuple | list) else [], 2, "two numbers: (N, D)")
    share = 6 * N * D / MAIN
    return SimpleNamespace(N=N, D=D, gb=2 * N / 1e9, epochs=D / OWN, share=share, unused=1 - share)


rules(
    "budget", spending,
    [slip(lambda run: min(run.N, run.D) <= 0, "N and D have to be positive", (-7e9, 2e12)),
     *near({1 / 3600: "the GPU-hours are taken as seconds: an hour has 3,600",
            1 / 1000: "a TFLOP/s is 1e12 FLOP/s, not 1e9",
            1 / 60: "the GPU-hours are taken as minutes: count them in seconds, 3,600 each",
            6: "a run costs 6 N D FLOPs: divide the FLOPs by 6 N",
            3: "a run costs 6 N D FLOPs: 2 N D are the forward pass alone",
            1 / 0.38: "this is what the peak would do: multiply by the MFU of 0.38",
            1 / 0.38 / 0.7: "the main run has 70 % of the hours, and an MFU of 0.38: both are missing"},
           5e-3, of=lambda run: run.share),
     slip(lambda run: run.N < 1e6 or run.D < 1e9,
          "write whole numbers of parameters and tokens, such as (7e9, 2e12), not billions", (28, 3557)),
     slip(lambda run: run.D < run.N, "fewer tokens than parameters: are N and D swapped?", (3.6e12, 28e9)),
     slip(lambda run: run.gb > 56 * 1.001,
          "{gb:.0f} GB of weights do not fit into the 56 GB that serving leaves for them",
          says((70e9, 1.4e12), gb=140)),
     slip(lambda run: run.epochs > 4 * 1.001,
          "that reads your text {epochs:.2f} times; beyond four times it is worth much less",
          says((8e9, 12e12), epochs=10)),
     slip(lambda run: run.share > 1.01,
          "this spends the hours of pilots, failures and evaluation too. The main run has 70 % of them",
          (28e9, 4.8e12)),
     slip(lambda run: run.share < 0.9, "this leaves {unused:.0%} of the main run's hours unused",
          says((8e9, 4.8e12), unused=0.61))],
    example=lambda given: given if isinstance(given, tuple) else (28e9, given * MAIN / 6 / 28e9),
    hint="First the largest N that fits into 56 GB, then D = C / 6N, then the number of epochs.",
    done=lambda run: f"{run.epochs:.2f} epochs, {run.D / run.N:.0f} tokens for each parameter, "
         f"loss {loss_of(run.N, run.D, **REPLICATION):.2f} by the replication's constants",
    also=[says((28e9,), "the check needs two numbers: (N, D)")])  # fmt: skip


def worth(repeats, own=50, r=15.387756):
    return own + own * r * (1 - math.exp(-repeats / r))


rules(
    "epochs", number("one number, in billions of tokens"),
    [*near({400: "this is what the model reads. Repeats are worth less than new text",
            50: "this is your text read once. The repeats are worth something too",
            worth(8): "eight epochs are seven repeats: R is the number of epochs less one",
            worth(6): "eight epochs are seven repeats, not six",
            worth(7) - 50: "this is what the repeats are worth. Add the first reading",
            worth(8) - 50: "add the first reading, and count seven repeats: eight epochs are one more",
            worth(7) / 50: "this is for U = 1, multiply by 50",
            worth(7) / 400: "this is the share of what is read. Multiply by the 400 billion",
            400 - worth(7): "this is what the repeats lose. The question is what all eight are worth",
            50 + worth(7) / 50 - 1: "the repeats are worth U R* (1 - exp(-R / R*)): the second U is missing",
            50 + (worth(7) - 50) / 15.387756: "the repeats are worth U R* (1 - exp(-R / R*)): R* is missing",
            200: "four epochs are nearly free, and the next four are not worthless"},
           6e-3),
     slip(lambda got: got > 1e5, "give the answer in billions of tokens, such as 50", 331e9, 331e3),
     slip(lambda got: not close(got, worth(7), 0.01),
          lambda got: f"{got:g} billion is not what the formula gives for U = 50 billion and eight epochs",
          says(290, "290 billion is not what the formula gives for U = 50 billion and eight epochs"))],
    hint="R counts the repeats, not the readings: eight epochs are seven repeats.",
    done="eight epochs of 50 billion tokens are worth about 331 billion new ones, 83 % of what is read",
    also=[says("331 billion", "the check needs one number, in billions of tokens")])  # fmt: skip
# fmt: on
