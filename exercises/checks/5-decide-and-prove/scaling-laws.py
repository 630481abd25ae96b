"""Checks of the exercises on scaling laws. The made-up runs of the first one follow a law that is known."""

import math

import torch

from scaleup.decide import scaling_runs
from scaleup.exercises import NotYet, code, exercise, known_wrong, needs_function
from scaleup.words import a_kind

TRUE = {"E": 1.8, "A": 0.42, "alpha": 0.36, "B": 1.8, "beta": 0.45}


def made_runs():
    """N and D in millions, and L, of 24 runs of the law TRUE: a scatter of 0.3 %, and one run went wrong."""
    sizes = torch.logspace(-2, 1, 6, dtype=torch.float64)
    N, D = (part.flatten() for part in torch.meshgrid(sizes, sizes[:4] * 60, indexing="ij"))
    L = TRUE["E"] + TRUE["A"] / N ** TRUE["alpha"] + TRUE["B"] / D ** TRUE["beta"]
    L = L * torch.exp(
        0.003 * torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    )
    L[9] *= 1.25
    return N, D, L


def numbers(answer, count, words):
    """The answer as floats, or a sentence that says what is wanted."""
    try:
        found = [float(value) for value in answer]
    except (TypeError, ValueError):
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise NotYet(f"the check needs {words}")
    return found


@exercise(
    "fit", hint="Minimise huber_loss(logarithm of the law, L.log(), delta=0.01); return exp() of e, a and b."
)
def fit(answer):
    needs_function(answer, "fit_law")
    found = numbers(answer(*made_runs()), 5, "five numbers from fit_law: E, A, alpha, B, beta")
    got = dict(zip(TRUE, found, strict=True))
    if abs(got["E"] - math.log(TRUE["E"])) < 0.08:
        raise NotYet("E is still a logarithm: return exp() of it, and of a and b")
    if got["alpha"] < 0 or got["beta"] < 0:
        raise NotYet(
            "an exponent is negative, so the loss would grow with the model or the text. Check the signs, "
            "and the units: N and D are in millions already"
        )
    if abs(got["alpha"] - TRUE["beta"]) < 0.05 and abs(got["beta"] - TRUE["alpha"]) < 0.05:
        raise NotYet("alpha and beta are swapped: alpha belongs to the parameters N, beta to the tokens D")
    if abs(got["E"]) < 0.3:
        raise NotYet("E is about 0: the law needs a loss that no model gets rid of. Is its term in the sum?")
    if any(
        abs(got[name] - TRUE[name]) > width for name, width in (("E", 0.08), ("alpha", 0.03), ("beta", 0.03))
    ):
        raise NotYet(
            f"E = {got['E']:.2f}, alpha = {got['alpha']:.2f}, beta = {got['beta']:.2f} are off. One of the "
            "runs went wrong, and a squared error follows it. "
            "Huber with a large delta is a squared error here"
        )
    near = {"A": 0.427, "B": 1.812}  # what the Huber loss finds, a little off TRUE for the scatter
    if all(abs(got[name] - math.log(value)) < 0.15 for name, value in near.items()):
        raise NotYet("A and B are still logarithms: return exp() of a and of b")
    if all(abs(got[name] / value - 1) < 0.1 for name, value in zip("BA", near.values(), strict=True)):
        raise NotYet("A and B are swapped: A belongs to the parameters N, B to the tokens D")
    for name, width in (("A", 0.15), ("B", 0.05)):
        if got[name] <= 0 or abs(math.log(got[name] / near[name])) > width:
            raise NotYet(f"{name} = {got[name]:.3g} is off, though E and the exponents are right")
    found = f"E = {got['E']:.2f}, alpha = {got['alpha']:.2f}, beta = {got['beta']:.2f}"
    return f"{found}, although one run went wrong"


FIT = """
import torch
def fit_law(N, D, L):
    theta = torch.tensor([0.5, 0.0, 0.4, 0.0, 0.4], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=1000, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )
    def closure():
        optimizer.zero_grad()
        e, a, alpha, b, beta = theta
        terms = {terms}
        predicted = torch.stack(terms).logsumexp(0)
        loss = {loss}
        loss.backward()
        return loss
    optimizer.step(closure)
    e, a, alpha, b, beta = theta.tolist()
    return {result}
"""
TERMS = "[e.expand_as(N), a - alpha * N.log(), b - beta * D.log()]"
HUBER = "torch.nn.functional.huber_loss(predicted, L.log(), reduction='sum', delta=0.01)"
RESULT = "[torch.tensor(e).exp(), torch.tensor(a).exp(), alpha, torch.tensor(b).exp(), beta]"


def fit_with(terms=TERMS, loss=HUBER, result=RESULT):
    return code(FIT.format(terms=terms, loss=loss, result=result))


known_wrong(
    "fit",
    fit_with(result="(e, a, alpha, b, beta)"),
    "E is still a logarithm: return exp() of it, and of a and b",
)
known_wrong(
    "fit",
    fit_with(terms="[e.expand_as(N), a + alpha * N.log(), b - beta * D.log()]"),
    "an exponent is negative, so the loss would grow with the model or the text. Check the signs, and the "
    "units: N and D are in millions already",
)
known_wrong(
    "fit",
    fit_with(result=RESULT.replace(" alpha", " beta ").replace(" beta]", " alpha]")),
    "alpha and beta are swapped: alpha belongs to the parameters N, beta to the tokens D",
)
known_wrong(
    "fit",
    fit_with(
        terms="[a - alpha * N.log(), b - beta * D.log()]",
        result=RESULT.replace("torch.tensor(e).exp()", "0.0"),
    ),
    "E is about 0: the law needs a loss that no model gets rid of. Is its term in the sum?",
)
known_wrong(
    "fit",
    fit_with(result="[torch.tensor(e).exp(), a, alpha, b, beta]"),
    "A and B are still logarithms: return exp() of a and of b",
)
known_wrong(
    "fit",
    fit_with(result="[torch.tensor(e).exp(), torch.tensor(b).exp(), alpha, torch.tensor(a).exp(), beta]"),
    "A and B are swapped: A belongs to the parameters N, B to the tokens D",
)
known_wrong(
    "fit",
    fit_with(result="[torch.tensor(e).exp(), 1e9, alpha, torch.tensor(b).exp(), beta]"),
    "A = 1e+09 is off, though E and the exponents are right",
)
known_wrong(
    "fit",
    fit_with(loss="torch.nn.functional.huber_loss(predicted, L.log(), reduction='sum')"),
    "E = 1.40, alpha = 0.30, beta = 0.36 are off. One of the runs went wrong, and a squared error follows "
    "it. Huber with a large delta is a squared error here",
)
known_wrong(
    "fit",
    code("def fit_law(N, D, L):\n    return 1.8"),
    "the check needs five numbers from fit_law: E, A, alpha, B, beta",
)


BUDGET = 4e11


def right_points(count, finished=True):
    """{dim: loss} on the budget with a way to count parameters."""
    rows = [row for row in scaling_runs.load() if row.purpose == "grid" and (row.finished or not finished)]
    near = [row for row in rows if abs(6 * count(row) * row.tokens / BUDGET - 1) < 0.02]
    return {row.dim: row.validation_loss for row in near}


@exercise(
    "isoflop", hint="Look at the two conditions: which parameters cost FLOPs, and was the run at its end?"
)
def isoflop(answer):
    needs_function(answer, "on_budget")
    rows = [row for row in scaling_runs.load() if row.purpose == "grid"]
    found = answer(rows, BUDGET)
    if not isinstance(found, dict):
        raise NotYet(f"on_budget has to return a dictionary from width to loss, not {a_kind(found)}")
    want = right_points(lambda row: row.parameters)
    if found == want:
        return f"{len(want)} finished runs that cost the same"
    by_hand = {
        row.dim: row
        for row in rows
        if row.finished and row.dim in want and row.validation_loss == want[row.dim]
    }
    if any(loss != want[dim] for dim, loss in found.items() if dim in want):
        raise NotYet(
            "some of these runs were looked at on their way, with a learning rate that was still high"
        )
    if len(found) < len(by_hand):
        raise NotYet(
            "finished runs are missing. The embedding costs no FLOPs; row.parameters is already without it"
        )
    raise NotYet("these are not the runs whose 6 N D is within 2 % of the budget")


ISO = """
def on_budget(rows, budget):
    points = {{}}
    for row in rows:
        spent = {spent}
        if {condition}:
            points[row.dim] = row.validation_loss
    return points
"""
NEAR = "abs(spent / budget - 1) < 0.02"


def iso_with(spent="6 * row.parameters * row.tokens", condition=f"row.finished and {NEAR}"):
    return code(ISO.format(spent=spent, condition=condition))


known_wrong(
    "isoflop",
    iso_with(condition=f"not row.finished and {NEAR}"),
    "some of these runs were looked at on their way, with a learning rate that was still high",
)
known_wrong(
    "isoflop",
    iso_with(spent="6 * (row.parameters + row.embedding) * row.tokens"),
    "finished runs are missing. The embedding costs no FLOPs; row.parameters is already without it",
)
known_wrong(
    "isoflop",
    iso_with(spent="6 * (row.parameters - row.embedding) * row.tokens"),
    "finished runs are missing. The embedding costs no FLOPs; row.parameters is already without it",
)
known_wrong(
    "isoflop",
    code("def on_budget(rows, budget):\n    return [row.validation_loss for row in rows]"),
    "on_budget has to return a dictionary from width to loss, not a list",
)


LAW = {"E": 2.84, "A": 72.7, "alpha": 0.392, "B": 193.0, "beta": 0.392}  # as printed in the lesson
N, D = 872_448, 305_664


def loss_of(parameters, tokens, law=LAW):
    return law["E"] + law["A"] / parameters ** law["alpha"] + law["B"] / tokens ** law["beta"]


@exercise("forecast", hint="E + A / N^alpha + B / D^beta, with N = 872,448 and D = 305,664.")
def forecast(answer):
    (got,) = numbers([answer], 1, "one number, the loss in nats")
    right = loss_of(N, D)
    measured = next(
        row.validation_loss
        for row in scaling_runs.load()
        if (row.dim, row.tokens) == (96, D) and row.finished
    )
    mistakes = {
        right - LAW["E"]: "this leaves out E, the loss that stays whatever you spend",
        math.log(right): "this is the logarithm of the loss. Take exp() of it",
        loss_of(
            2 * 96 * 4096 + N - 96 * 4096, D
        ): "this counts the embedding too; the law was fitted without it",
        loss_of(D, N): "N and D are swapped",
    }
    if abs(got / right - 1) < 0.004:
        return f"the law says {right:.2f}; the run, which no fit has seen, ended at {measured:.2f}"
    if abs(got / right - 1) < 0.012:
        raise NotYet("near, but the scatter of a run is not larger than what is missing: give three digits")
    for value, sentence in mistakes.items():
        if abs(got / value - 1) < 0.002:
            raise NotYet(sentence)
    raise NotYet(
        f"{got:.3g} nats is not what this law says. Put N and D into the three terms and add them up"
    )


known_wrong("forecast", loss_of(N, D) - LAW["E"], "this leaves out E, the loss that stays whatever you spend")
known_wrong("forecast", loss_of(D, N), "N and D are swapped")
known_wrong("forecast", math.log(loss_of(N, D)), "this is the logarithm of the loss. Take exp() of it")
known_wrong(
    "forecast", 4.5, "near, but the scatter of a run is not larger than what is missing: give three digits"
)
known_wrong("forecast", "4.5 nats", "the check needs one number, the loss in nats")


HOURS, MAIN, PEAK, MFU = 2_000_000, 0.70, 312e12, 0.38
OWN, EPOCHS, ROOM = 1.2e12, 4, 0.7 * 80e9
REPLICATION = {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658}


@exercise(
    "budget", hint="First the largest N that fits into 56 GB, then D = C / 6N, then the number of epochs."
)
def budget(answer):
    parameters, tokens = numbers(answer if isinstance(answer, tuple | list) else [], 2, "two numbers: (N, D)")
    if parameters <= 0 or tokens <= 0:
        raise NotYet("N and D have to be positive")
    if parameters < 1e6 or tokens < 1e9:
        raise NotYet("write whole numbers of parameters and tokens, such as (7e9, 2e12), not billions")
    if tokens < parameters:
        raise NotYet("fewer tokens than parameters: are N and D swapped?")
    compute = HOURS * 3600 * PEAK * MFU
    spent = 6 * parameters * tokens
    if 2 * parameters > 1.001 * ROOM:
        raise NotYet(
            f"{2 * parameters / 1e9:.0f} GB of weights do not fit into the 56 GB that serving leaves for them"
        )
    if tokens > 1.001 * EPOCHS * OWN:
        raise NotYet(
            f"that reads your text {tokens / OWN:.2f} times; beyond four times it is worth much less"
        )
    if 1.01 * MAIN * compute < spent <= compute:
        raise NotYet(
            "this spends the hours of pilots, failures and evaluation too. The main run has 70 % of them"
        )
    if spent > compute:
        raise NotYet(f"this costs {spent / compute:.1f} times all the hours that were granted")
    if spent < 0.9 * MAIN * compute:
        raise NotYet(f"this leaves {1 - spent / MAIN / compute:.0%} of the main run's hours unused")
    loss = loss_of(parameters, tokens, REPLICATION)
    ratio = f"{tokens / OWN:.2f} epochs, {tokens / parameters:.0f} tokens for each parameter"
    return f"{ratio}, loss {loss:.2f} by the replication's constants"


known_wrong(
    "budget", (70e9, 1.4e12), "140 GB of weights do not fit into the 56 GB that serving leaves for them"
)
known_wrong(
    "budget", (8e9, 12e12), "that reads your text 10.00 times; beyond four times it is worth much less"
)
known_wrong(
    "budget",
    (28e9, 4.8e12),
    "this spends the hours of pilots, failures and evaluation too. The main run has 70 % of them",
)
known_wrong("budget", (8e9, 4.8e12), "this leaves 61% of the main run's hours unused")
known_wrong("budget", (3.6e12, 28e9), "fewer tokens than parameters: are N and D swapped?")


@exercise("epochs", hint="R counts the repeats, not the readings: eight epochs are seven repeats.")
def epochs(answer):
    (got,) = numbers([answer], 1, "one number, in billions of tokens")
    r = 15.387756

    def worth(repeats):
        return 50 + 50 * r * (1 - math.exp(-repeats / r))

    mistakes = {
        400: "this is what the model reads. Repeats are worth less than new text",
        50: "this is your text read once. The repeats are worth something too",
        worth(8): "eight epochs are seven repeats: R is the number of epochs less one",
        worth(7) - 50: "this is what the repeats are worth. Add the first reading",
        worth(7) / 50: "this is for U = 1, multiply by 50",
        200: "four epochs are nearly free, and the next four are not worthless",
    }
    if abs(got / worth(7) - 1) < 0.01:
        return "eight epochs of 50 billion tokens are worth about 331 billion new ones, 83 % of what is read"
    for value, sentence in mistakes.items():
        if abs(got / value - 1) < 0.006:
            raise NotYet(sentence)
    if got > 1e9:
        raise NotYet("give the answer in billions of tokens, such as 50")
    raise NotYet(f"{got:g} billion is not what the formula gives for U = 50 billion and eight epochs")


known_wrong("epochs", 400, "this is what the model reads. Repeats are worth less than new text")
known_wrong("epochs", 362, "eight epochs are seven repeats: R is the number of epochs less one")
known_wrong("epochs", 281, "this is what the repeats are worth. Add the first reading")
known_wrong("epochs", 6.62, "this is for U = 1, multiply by 50")
known_wrong("epochs", 331e9, "give the answer in billions of tokens, such as 50")
