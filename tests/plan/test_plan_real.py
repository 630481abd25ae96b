"""scaleup.plan against real programs: the course's GPT and transformers' models, counted and measured here.

Nothing in this file is timed. What is measured on one CPU, or on two ranks of it, is what PyTorch allocates.
"""

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from scaleup import measure, ranks
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.plan import Layout, Machine, Run, Shape, accelerators, flops
from scaleup.plan.layout import SOFTWARE
from scaleup.plan.memory import Memory, layer_activations, memory

NODE = Machine(accelerators.ACCELERATORS["H100"], 4, 100e9, "test")
SHARDS = Path(__file__).parents[1] / "programs" / "plan_shards.py"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors: threads that wait for each other cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shape_of(config: GPTConfig) -> Shape:
    return Shape(config.layers, config.dim, config.heads, config.hidden, config.vocab_size)


def planned(config: GPTConfig, batch: int, seq: int, **layout) -> Run:
    """The course's own program on one device, or in another layout."""
    layout = Layout(**{"zero": 0, "micro_batch": batch} | layout)
    return Run(shape_of(config), seq, batch * layout.dp, layout, NODE, SOFTWARE["scaleup"])


# Parameters.

CONFIGS = [
    GPTConfig(),
    GPTConfig(vocab_size=509, layers=1, heads=1, dim=2, hidden=1),
    GPTConfig(vocab_size=50257, layers=12, heads=12, dim=768, hidden=2048, context=1024),
    GPTConfig(vocab_size=32000, layers=32, heads=32, dim=4096, hidden=11008, context=4096),
    GPTConfig(vocab_size=128256, layers=126, heads=128, dim=16384, hidden=53248, context=8192),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.layers}x{c.dim}")
def test_the_course_s_model_has_the_parameters_that_are_planned(config):
    with torch.device("meta"):
        model = GPT(config)
    shape = shape_of(config)
    assert measure.parameters(model) == shape.parameters
    assert sum(p.numel() for p in model.blocks[0].parameters()) == shape.layer_parameters
    assert model.embedding.weight.numel() == shape.embedding_parameters
    assert model.head.weight.numel() == shape.head_parameters


def drawn(kind: str, draw: random.Random) -> tuple[Shape, dict]:
    """A model of a family with sizes that nobody released: its Shape, and its configuration."""
    kv_heads, tied = draw.choice([1, 2, 3]), draw.random() < 0.5
    heads, head_dim = kv_heads * draw.choice([1, 2, 4]), draw.choice([8, 24, 64])
    hidden = heads * (head_dim if kind in ("gpt2", "qwen2") else draw.randint(5, 40))
    layers, ffn, vocab = draw.randint(1, 4), draw.randint(3, 700), draw.randint(7, 3000)
    usual = {"model_type": kind, "vocab_size": vocab, "tie_word_embeddings": tied}
    if kind == "gpt2":
        shape = Shape(
            layers, hidden, heads, ffn, vocab, gated=False, tied=tied, positions=77, bias=True, norm_vectors=2
        )
        sizes = {"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_inner": ffn, "n_positions": 77}
        return shape, usual | sizes
    more = {
        "qwen2": {"qkv_bias": True},
        "qwen3": {"qk_norm": True},
        "mixtral": {"experts": 6, "experts_per_token": 2},
    }
    shape = Shape(
        layers, hidden, heads, ffn, vocab, kv_heads, head_dim, tied=tied, **more.get(kind, {})
    )  # fmt: skip
    return shape, usual | {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": ffn,
        "num_local_experts": 6,
    }


def from_transformers(config: dict, device: str = "meta"):
    """The model of a configuration, attention written out as products; on "meta" without any number."""
    transformers = pytest.importorskip("transformers")
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(**config), attn_implementation="eager"
        )


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "qwen2", "qwen3", "mixtral"])
def test_models_of_any_size_have_the_parameters_that_transformers_gives_them(kind):
    draw = random.Random(kind)
    for _ in range(4):
        shape, config = drawn(kind, draw)
        assert measure.parameters(from_transformers(config)) == shape.parameters, config


# FLOPs. The kernel of the CPU is unknown to PyTorch's counter; attention as two products is known to it.


def counted(model: torch.nn.Module, tokens: torch.Tensor, loss) -> dict[str, dict]:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss(model, tokens).backward()
    return {name: sum(found.values()) / tokens.numel() for name, found in counter.get_flop_counts().items()}


def course_loss(model: GPT, tokens: torch.Tensor) -> torch.Tensor:
    return next_token_loss(model(tokens), tokens)


@pytest.mark.parametrize(
    ("config", "seq"),
    [
        (GPTConfig(vocab_size=384, layers=2, heads=4, dim=96, hidden=200, context=160), 160),
        (GPTConfig(vocab_size=32000, layers=3, heads=32, dim=4096, hidden=11008, context=4096), 4096),
        (GPTConfig(vocab_size=128256, layers=2, heads=128, dim=16384, hidden=53248, context=8192), 8192),
    ],
    ids=["tiny", "7b", "405b"],
)
def test_flops_are_those_that_pytorch_counts_in_total_and_in_a_layer(config, seq):
    """Forward and backward with real shapes, without their numbers: the counter needs only the shapes."""
    with torch.device("meta"):
        model, tokens = GPT(config), torch.zeros(2, seq, dtype=torch.long)
    found, shape = counted(model, tokens, course_loss), shape_of(config)
    assert found["Global"] == pytest.approx(flops.per_token(shape, seq, "model"), rel=0.01)
    attention = flops.attention_per_token(shape, seq) / config.layers
    layer = 3 * (2 * shape.matmul_parameters_per_layer + attention)
    assert found["GPT.blocks.0"] == pytest.approx(layer, rel=0.01)
    assert found["GPT.blocks.0.mlp"] == pytest.approx(6 * shape.mlp_matrix, rel=0.01)
    assert found["GPT.head"] == pytest.approx(3 * flops.head_per_token(shape), rel=0.01)


def test_flops_of_a_real_pass_on_this_cpu_are_the_same():
    config = GPTConfig(vocab_size=300, layers=2, heads=2, dim=64, hidden=160, context=96)
    found = counted(GPT(config), torch.zeros(3, 96, dtype=torch.long), course_loss)
    assert found["Global"] == pytest.approx(flops.per_token(shape_of(config), 96, "model"), rel=0.01)


def recompute_layers(model: GPT) -> None:
    """Full activation recompute: each layer keeps its input only and works twice."""
    for block in model.blocks:
        block.forward = lambda *given, whole=block.forward: checkpoint(whole, *given, use_reentrant=False)


@pytest.mark.parametrize("early_stop", [False, True])
def test_recompute_counts_the_layers_once_more(early_stop):
    """PyTorch may stop each layer's second pass at its last product, whose result nothing needs."""
    config = GPTConfig(vocab_size=1000, layers=3, heads=8, dim=512, hidden=1408, context=512)
    with torch.device("meta"):
        model, tokens = GPT(config), torch.zeros(2, 512, dtype=torch.long)
    recompute_layers(model)
    with set_checkpoint_early_stop(early_stop):
        found = counted(model, tokens, course_loss)["Global"]
    spared = 2 * config.layers * config.dim * config.hidden if early_stop else 0
    assert found + spared == pytest.approx(flops.per_token(shape_of(config), 512, "recompute"), rel=0.01)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_flops_of_transformers_models_too(kind):
    """Among them heads that share keys and values, and heads whose widths do not add up to the model's."""

    def loss(model, tokens):
        return model(input_ids=tokens, labels=tokens, use_cache=False).loss

    draw = random.Random(kind)
    for _ in range(2):
        shape, config = drawn(kind, draw)
        tokens = torch.zeros(2, 64, dtype=torch.long)
        found = counted(from_transformers(config, "cpu"), tokens, loss)["Global"]
        assert found == pytest.approx(flops.per_token(shape, 64, "model"), rel=0.01), config


# Memory of parameters and what belongs to them: 16 bytes a parameter, and 2 for a copy in 16 bit.


def tokens_for(config: GPTConfig, batch: int, seq: int) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (batch, seq), generator=torch.Generator().manual_seed(0))


def forward(model: GPT, tokens: torch.Tensor) -> torch.Tensor:
    """Loss as the course trains with train.dtype=bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return course_loss(model, tokens)


def size(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def test_states_take_exactly_the_bytes_that_are_planned():
    """Memory's `optimizer` is the 32-bit weights and both moments, its `gradients` are in 32 bit."""
    config = GPTConfig(vocab_size=700, layers=3, heads=2, dim=64, hidden=176, context=32)
    model, tokens = GPT(config), tokens_for(config, 2, 32)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    forward(model, tokens).backward()
    optimizer.step()
    plan = memory(planned(config, 2, 32))
    assert size(p.grad for p in model.parameters()) == plan.gradients
    moments = size(t for state in optimizer.state.values() for t in state.values() if t.dim())
    assert size(model.parameters()) + moments == plan.optimizer


# Activations, by what autograd keeps. Reasons for every byte that the planner does not count stand beside it.


@contextmanager
def kept_by_autograd(model: GPT) -> Iterator[dict[int, torch.Tensor]]:
    """One tensor of each storage that is kept for the backward pass, without parameters and tables."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept.setdefault(place, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def kept_bytes(config: GPTConfig, batch: int, seq: int) -> int:
    model = GPT(config)
    with kept_by_autograd(model) as kept:
        forward(model, tokens_for(config, batch, seq))
    return sum(t.untyped_storage().nbytes() for t in kept.values())


SIZES = [
    (GPTConfig(vocab_size=64, layers=2, heads=2, dim=128, hidden=352, context=64), 4, 64),
    (GPTConfig(vocab_size=512, layers=2, heads=8, dim=128, hidden=96, context=192), 2, 160),
    (GPTConfig(vocab_size=64, layers=2, heads=4, dim=192, hidden=512, context=96), 3, 96),
]


@pytest.mark.parametrize(("config", "batch", "seq"), SIZES)
def test_a_layer_keeps_what_is_planned_and_what_a_gpu_does_not_keep(config, batch, seq):
    """Not planned: the norms of the CPU are several operators, which also keep their input scaled, before the
    weight, in 32 bit; a fused norm of a GPU does not. And some numbers for each head, row or position.
    """
    larger = GPTConfig(**{**vars(config), "layers": 3})
    measured = kept_bytes(larger, batch, seq) - kept_bytes(config, batch, seq)
    tokens, shape = batch * seq, shape_of(config)
    copies = 2 * shape.matmul_parameters_per_layer  # of the weights, in 16 bit: Memory's `weights`
    scaled = 2 * 4 * tokens * config.dim
    small = 2 * 4 * tokens  # one over the norm of each row, twice
    small += 4 * tokens * config.heads  # logarithm of the sum of each row of scores
    small += 2 * 2 * seq * config.dim // config.heads  # cosine and sine in 16 bit
    activations = layer_activations(planned(config, batch, seq))
    assert measured == activations + copies + scaled + small
    assert measured - copies - scaled == pytest.approx(activations, rel=0.02)


def test_weights_are_the_copies_in_16_bit_that_autocast_makes():
    """All but the embedding, which is looked up, and the norms, which work in 32 bit."""
    config = GPTConfig(vocab_size=96, layers=3, heads=2, dim=64, hidden=176, context=8)
    model = GPT(config)
    shapes = {tuple(t.shape) for t in model.parameters() if t.dim() == 2}
    with kept_by_autograd(model) as kept:
        forward(model, tokens_for(config, 1, 8))
    copies = [t for t in kept.values() if {tuple(t.shape), tuple(t.shape[::-1])} & shapes]
    counted = shape_of(config)
    matrices = config.layers * counted.matmul_parameters_per_layer + counted.head_parameters
    assert size(copies) == 2 * matrices
    left_out = counted.embedding_parameters + (2 * config.layers + 1) * config.dim
    assert memory(planned(config, 1, 8)).weights == 2 * (matrices + left_out)


# What the allocator hands out: no list of tensors, but every block and its end.


def highest(work) -> int:
    """Most bytes that PyTorch holds at once while `work()` runs, above those that are there before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        work()
    blocks = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]
    ordered = sorted(blocks, key=lambda block: block.start_ns())
    return max(accumulate(block.nbytes() for block in ordered))


def training_peak(config: GPTConfig, batch: int, seq: int, recompute: bool) -> int:
    """Highest bytes of the second micro-batch of a step: gradients are there, the optimizer has stepped."""
    model, tokens = GPT(config), tokens_for(config, batch, seq)
    if recompute:
        recompute_layers(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    forward(model, tokens).backward()
    optimizer.step()
    there = [*model.parameters(), *(p.grad for p in model.parameters())]
    there += [t for state in optimizer.state.values() for t in state.values()]
    return size(there) + highest(lambda: forward(model, tokens).backward())


STEP = GPTConfig(vocab_size=512, layers=6, heads=2, dim=128, hidden=352, context=128)


def in_use(plan: Memory) -> float:
    return plan.total - plan.buffers


def unfused(tokens: int, layers: int) -> int:
    """Bytes that the norms of so many layers keep on a CPU only."""
    return 8 * tokens * STEP.dim * layers


def test_the_peak_of_a_training_step_is_what_is_planned():
    """Not planned: the last norm and what it hands on, and 512 rows of the loss, twice in 32 bit."""
    plan, tokens = memory(planned(STEP, 8, 128)), 8 * 128
    extra = unfused(tokens, STEP.layers) + 10 * tokens * STEP.dim + 2 * 4 * 512 * STEP.vocab_size
    assert training_peak(STEP, 8, 128, recompute=False) == pytest.approx(in_use(plan) + extra, rel=0.05)


def test_recompute_lowers_the_peak_as_planned():
    """The plan counts the logits and a whole layer; when a layer works again, the logits are gone.

    What 1,024 more tokens need shows the activations alone: states do not depend on them. An eighth of it is
    gradients inside the layer at work, which are not planned. A core without units for bf16 also holds the
    result of the widest product in 32 bit while it computes.
    """
    few, many = (memory(planned(STEP, batch, 128, recompute="full")) for batch in (8, 16))
    small, large = (training_peak(STEP, batch, 128, recompute=True) for batch in (8, 16))
    assert small == pytest.approx(in_use(few) - few.logits + unfused(1024, 1), rel=0.05)
    more = many.activations - few.activations + unfused(1024, 1)
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    more += 0 if has_units else 4 * 1024 * STEP.hidden
    assert large - small == pytest.approx(more, rel=0.15)
    assert small < in_use(few) < 1.15 * small
    assert in_use(few) < 0.6 * in_use(memory(planned(STEP, 8, 128)))


# Sharded over two ranks.


@pytest.mark.processes
def test_two_ranks_hold_what_each_stage_of_zero_plans():
    """511 tokens do not split evenly: the fuller rank has one row of each of two matrices more."""
    sizes = (511, 6, 4, 64, 192)
    config = GPTConfig(*sizes, context=32)
    count = shape_of(config).parameters
    found = ranks.run(SHARDS, 2, *sizes, quiet=True).results
    for stage in (1, 2, 3):
        plan = memory(planned(config, 2, 32, zero=stage, dp=2))
        held = {part: max(found[rank][str(stage)][part] for rank in (0, 1)) for part in found[0][str(stage)]}
        assert held["gradients"] == pytest.approx(plan.gradients, rel=0.01)
        if stage == 1:
            # PyTorch's ZeRO 1 shards the moments, 8 of the planner's 12 bytes, and leaves the weights whole.
            assert held["moments"] == pytest.approx(plan.optimizer * 8 / 12, rel=0.01)
            assert held["parameters"] == 4 * count
        elif stage == 2:
            assert held["whole"] == plan.weights
            assert held["parameters"] + held["moments"] == pytest.approx(plan.optimizer, rel=0.01)
        else:
            assert held["whole"] == 0
            assert held["parameters"] == pytest.approx(plan.weights, rel=0.01)
            assert held["moments"] == pytest.approx(plan.optimizer, rel=0.01)
        for part in ("moments", *(("parameters", "gradients") if stage > 1 else ())):
            both = found[0][str(stage)][part] + found[1][str(stage)][part]
            assert both == {"moments": 8, "parameters": 4, "gradients": 4}[part] * count
