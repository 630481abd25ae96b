"""The model: its mathematics against formulas written out here, not against its own code."""

import math

import pytest
import torch
import torch.nn.functional as F

from scaleup.model import GPT, MLP, Attention, GPTConfig, next_token_loss, rotary_table, rotate

SMALL = GPTConfig(vocab_size=61, layers=2, heads=2, dim=16, hidden=24, context=12)


def make(config: GPTConfig = SMALL, seed: int = 1) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def some_tokens(config: GPTConfig = SMALL, batch: int = 3, seq: int = 10) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (batch, seq), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("batch", "seq"), [(1, 1), (3, 10), (2, SMALL.context)])
def test_logits_have_a_score_for_every_token_of_the_vocabulary(batch, seq):
    assert make()(some_tokens(batch=batch, seq=seq)).shape == (batch, seq, SMALL.vocab_size)


@pytest.mark.parametrize("position", range(1, 10))
def test_a_later_token_does_not_change_earlier_logits(position):
    model, tokens = make(), some_tokens()
    changed = tokens.clone()
    changed[:, position] = (changed[:, position] + 1) % SMALL.vocab_size
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert all(not torch.equal(before[:, p], after[:, p]) for p in range(position, 10)), "later ones must"


def test_windows_of_a_batch_do_not_see_each_other():
    model, tokens = make(), some_tokens()
    torch.testing.assert_close(model(tokens)[1:2], model(tokens[1:2]))


# Rotary positions


def test_rotation_is_multiplication_of_complex_numbers():
    cos, sin = rotary_table(8, 12)
    x = torch.randn(12, 8, dtype=torch.float64)
    angles = torch.tensor([[p * 10_000 ** (-2 * i / 8) for i in range(4)] for p in range(12)])
    turned = torch.complex(x[:, :4], x[:, 4:]) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    torch.testing.assert_close(rotate(x, cos.double(), sin.double()), expected, rtol=0, atol=1e-5)


def test_a_rotated_product_depends_on_the_distance_of_positions_only():
    cos, sin = rotary_table(16, 40)
    query, key = torch.randn(16), torch.randn(16)
    scores = rotate(query.expand(40, 16), cos, sin) @ rotate(key.expand(40, 16), cos, sin).T
    for distance in (-20, -1, 0, 3, 25):
        same = torch.diagonal(scores, distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-4)
    assert (scores[0, 1:] - scores[0, 0]).abs().min() > 1e-4, "different distances must score differently"


def test_a_rotation_keeps_the_length():
    x = torch.randn(2, 3, 12, 8)
    turned = rotate(x, *rotary_table(8, 12))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0]), "position 0 is not turned"


def test_the_model_knows_the_order_of_its_tokens():
    tokens = some_tokens()
    swapped = tokens.clone()
    swapped[:, [2, 3]] = tokens[:, [3, 2]]
    model = make()
    assert not torch.allclose(model(tokens)[:, -1], model(swapped)[:, -1], atol=1e-6)


# Layers, written out


def test_attention_is_the_formula_of_the_paper():
    torch.manual_seed(3)
    layer, x = Attention(SMALL), torch.randn(2, 5, SMALL.dim)
    width = SMALL.dim // SMALL.heads
    cos, sin = rotary_table(width, SMALL.context)
    mixed = torch.zeros(2, 5, SMALL.dim)
    for head in range(SMALL.heads):
        part = slice(head * width, (head + 1) * width)
        query = rotate(layer.query(x)[..., part], cos[:5], sin[:5])
        key = rotate(layer.key(x)[..., part], cos[:5], sin[:5])
        scores = query @ key.transpose(1, 2) / math.sqrt(width)
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        mixed[..., part] = scores.softmax(-1) @ layer.value(x)[..., part]
    torch.testing.assert_close(layer(x, cos[:5], sin[:5]), layer.out(mixed), rtol=1e-4, atol=1e-6)


def test_mlp_is_swiglu():
    torch.manual_seed(3)
    layer, x = MLP(SMALL), torch.randn(2, 5, SMALL.dim)
    gate = x @ layer.gate.weight.T
    expected = (gate * torch.sigmoid(gate) * (x @ layer.up.weight.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-6)


# Loss and gradients


@pytest.mark.parametrize("vocab", [100, 4096])
def test_the_first_loss_is_that_of_guessing(vocab):
    config = GPTConfig(vocab_size=vocab, layers=2, heads=2, dim=32, hidden=64, context=64)
    tokens = some_tokens(config, batch=8, seq=33)
    loss = next_token_loss(make(config)(tokens[:, :-1]), tokens[:, 1:])
    assert loss.item() == pytest.approx(math.log(vocab), abs=0.05)


def test_the_loss_is_the_mean_negative_log_probability():
    logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]]])  # probabilities (1/4, 3/4) and (1/2, 1/2)
    loss = next_token_loss(logits, torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_the_loss_is_taken_in_float32():
    logits = torch.randn(2, 3, 50).bfloat16()
    targets = torch.randint(0, 50, (2, 3))
    assert next_token_loss(logits, targets).dtype == torch.float32


def test_gradients_agree_with_finite_differences():
    """Along a random direction of each parameter, (L(p + e d) - L(p - e d)) / 2e is the gradient times d."""
    model, tokens = make().double(), some_tokens()

    def loss() -> torch.Tensor:  # in float64: next_token_loss rounds to float32 on purpose
        return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    loss().backward()
    e = 1e-5
    for name, parameter in model.named_parameters():
        direction = torch.randn_like(parameter)
        expected = (parameter.grad * direction).sum().item()
        with torch.no_grad():
            parameter += e * direction
            above = loss().item()
            parameter -= 2 * e * direction
            below = loss().item()
            parameter += e * direction
        assert (above - below) / (2 * e) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


# Parameters


def test_names_and_shapes_of_a_checkpoint_are_stable():
    """A stored model.pt can be read for as long as this holds."""
    model = make(GPTConfig(vocab_size=61, layers=1, heads=2, dim=16, hidden=24, context=12))
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {
        "embedding.weight": (61, 16),
        "blocks.0.attention_norm.weight": (16,),
        "blocks.0.attention.query.weight": (16, 16),
        "blocks.0.attention.key.weight": (16, 16),
        "blocks.0.attention.value.weight": (16, 16),
        "blocks.0.attention.out.weight": (16, 16),
        "blocks.0.mlp_norm.weight": (16,),
        "blocks.0.mlp.gate.weight": (24, 16),
        "blocks.0.mlp.up.weight": (24, 16),
        "blocks.0.mlp.down.weight": (16, 24),
        "norm.weight": (16,),
        "head.weight": (61, 16),
    }


def test_initial_weights_have_the_sizes_that_the_docstring_states():
    config = GPTConfig(vocab_size=500, layers=8, heads=4, dim=64, hidden=128, context=16)
    for name, parameter in make(config).named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
            continue
        writes_back = "attention.out" in name or "mlp.down" in name
        expected = 0.02 / 4 if writes_back else 0.02  # sqrt(2 x 8 layers) = 4
        assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_the_seed_decides_the_weights():
    one, same, other = (make(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


# Wrong shapes


@pytest.mark.parametrize("shape", [{"dim": 10, "heads": 4}, {"dim": 12, "heads": 4}, {"heads": 0}])
def test_heads_that_do_not_fit_are_refused_with_both_numbers(shape):
    with pytest.raises(ValueError, match=rf"dim=\d+.*heads={shape['heads']}"):
        GPTConfig(**shape)


def test_a_window_longer_than_the_context_is_refused_with_the_limit():
    with pytest.raises(ValueError, match=f"13.*{SMALL.context}"):
        make()(some_tokens(seq=13))
