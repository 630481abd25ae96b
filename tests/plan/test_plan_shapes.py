"""scaleup.plan: parameter counts of published models, and FLOPs against PyTorch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scaleup import measure
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.plan import flops, shapes
from scaleup.plan.shapes import KNOWN, Shape

# Numbers of parameters in the weights that each publisher released: the sum over all tensors of the files.
# The test below builds some of them with transformers and arrives at the same numbers.
PUBLISHED = {
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "opt-1.3b": 1_315_758_080,
    "opt-6.7b": 6_658_473_984,
    "opt-30b": 29_974_540_288,
    "bloom-7b1": 7_069_016_064,
    "bloom-176b": 176_247_271_424,
    "gpt-neox-20b": 20_554_567_680,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_exactly_its_parameters(name):
    assert KNOWN[name].parameters == PUBLISHED[name]


def released(name: str) -> dict:
    """Configuration of a released model, in transformers' words, from its sizes in KNOWN."""
    shape = KNOWN[name]
    usual = {"vocab_size": shape.vocab, "tie_word_embeddings": shape.tied}
    if name.startswith(("gpt2", "bloom")):
        sizes = {"n_layer": shape.layers, "n_head": shape.heads}
        width = "n_embd" if name.startswith("gpt2") else "hidden_size"
        return {"model_type": name.partition("-")[0], width: shape.hidden} | sizes | usual
    sizes = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.ffn,
        "head_dim": shape.head_dim,
    }
    kinds = {
        "opt": "opt",
        "gpt-neox": "gpt_neox",
        "mixtral": "mixtral",
        "qwen2.5": "qwen2",
        "qwen3": "qwen3_moe",
    }
    kind = next((kinds[stem] for stem in kinds if name.startswith(stem)), "llama")
    if kind == "opt":
        sizes |= {"ffn_dim": shape.ffn, "word_embed_proj_dim": shape.hidden, "max_position_embeddings": 2048}
    if kind == "mixtral":
        sizes |= {"num_local_experts": shape.experts}
    if kind == "qwen3_moe":
        sizes |= {"num_experts": shape.experts, "moe_intermediate_size": shape.ffn}
    return {"model_type": kind} | sizes | usual


@pytest.mark.parametrize(
    "name",
    [
        "llama-3-70b",
        "gpt2-xl",
        "bloom-176b",
        "opt-30b",
        "gpt-neox-20b",
        "mixtral-8x7b",
        "qwen2.5-0.5b",
        "qwen3-30b-a3b",
    ],
)
def test_transformers_counts_the_same(name):
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**released(name))
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert measure.parameters(model) == KNOWN[name].parameters


def test_models_whose_count_is_published_rounded():
    assert round(KNOWN["gpt3-175b"].parameters / 1e9, 1) == 174.6  # Narayanan et al. 2021, table 2
    assert round(KNOWN["mt-nlg-530b"].parameters / 1e9, 1) == 529.6  # the same table
    assert round(KNOWN["qwen3-235b-a22b"].parameters / 1e9) == 235
    assert round(KNOWN["qwen3-235b-a22b"].active_parameters / 1e9) == 22
    assert KNOWN["qwen3-30b-a3b"].active_parameters / 1e9 == pytest.approx(3.3, abs=0.06)


def course_shape(config: GPTConfig) -> Shape:
    return Shape(config.layers, config.dim, config.heads, config.hidden, config.vocab_size)


def test_the_course_s_own_model_is_counted_as_pytorch_counts_it():
    config = GPTConfig(vocab_size=512, layers=3, heads=4, dim=96, hidden=160)
    assert course_shape(config).parameters == measure.parameters(GPT(config))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLAMA3.1_405B", "llama-3-405b"),
        ("LLAMA3_70B SFT Performance", "llama-3-70b"),
        ("Llama-3.2-3B", "llama-3.2-3b"),
        ("Llama-2-13B", "llama-2-13b"),
        ("Qwen3_30B_a3B", "qwen3-30b-a3b"),
        ("Qwen3-30B-A3B (MoE)", "qwen3-30b-a3b"),
        ("Nemotron4-340B", "nemotron-4-340b"),
        ("BLOOM-176B ramp-up", "bloom-176b"),
        ("GPT-3 175B", "gpt3-175b"),
        ("MPT-125m", "mpt-125m"),
        ("Llama 8B", "llama-3-8b"),
        ("LLaMA-65B", "llama-1-65b"),
    ],
)
def test_a_table_s_name_means_a_public_model(name, meant):
    assert shapes.known(name) is KNOWN[meant]


@pytest.mark.parametrize("name", ["Llama-like 8B", "GPT-2 style 52B", "BLOOM candidate 181B", "", "GPT 7B"])
def test_a_name_that_only_resembles_one_means_none(name):
    assert shapes.known(name) is None


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"layers": 0}, "layers=0 is impossible"),
        ({"layers": 10**9}, "layers=1000000000 is impossible"),
        ({"heads": 7}, "does not split into 7 heads"),
        ({"kv_heads": 3}, "cannot share 3 key-value heads"),
        ({"experts": 8}, "experts_per_token"),
    ],
)
def test_an_impossible_shape_is_refused_in_a_sentence(sizes, says):
    with pytest.raises(CourseError, match=says):
        Shape(**{"layers": 2, "hidden": 64, "heads": 4, "ffn": 128, "vocab": 100} | sizes)


def test_an_unknown_model_is_refused_with_those_that_exist():
    with pytest.raises(CourseError, match="llama-3-8b"):
        shapes.model("llama-9-1t")


@pytest.mark.parametrize("shape", [{"layers": 2, "heads": 4, "dim": 64, "hidden": 160}, {"layers": 3}])
def test_flops_are_those_that_pytorch_counts(shape):
    config = GPTConfig(vocab_size=384, context=128, **shape)
    model = GPT(config)
    tokens = torch.zeros(2, 128, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        next_token_loss(model(tokens), tokens).backward()
    expected = flops.per_token(course_shape(config), 128) * tokens.numel()
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


def test_the_rule_model_is_the_one_of_the_course():
    config = GPTConfig(vocab_size=500, layers=4, dim=96, heads=4, hidden=256)
    counted = flops.per_token(course_shape(config), 256)
    assert counted == measure.flops_per_token(config, 256)
    assert flops.per_token(course_shape(config), 256, "causal") == measure.flops_per_token(config, 256, True)


@pytest.mark.parametrize(
    ("name", "seq", "ratio"), [("llama-3-8b", 8192, 0.889), ("llama-3-70b", 8192, 0.933)]
)
def test_causal_counts_differ_by_what_the_facts_found(name, seq, ratio):
    assert flops.convert(1.0, KNOWN[name], seq, "model", "causal") == pytest.approx(ratio, abs=0.002)


def test_full_recompute_adds_a_third_to_what_is_counted():
    shape = KNOWN["gpt3-175b"]
    assert flops.convert(1.0, shape, 2048, "model", "recompute") == pytest.approx(4 / 3, rel=0.01)
    assert flops.convert(1.0, shape, 2048, "model", "megatron-2021") == pytest.approx(4 / 3, rel=0.01)


def test_converting_there_and_back_changes_nothing():
    for rule in flops.RULES:
        there = flops.convert(100.0, KNOWN["mixtral-8x7b"], 4096, "model", rule)
        assert flops.convert(there, KNOWN["mixtral-8x7b"], 4096, rule, "model") == pytest.approx(100.0)


def test_an_unknown_rule_is_refused_with_those_that_exist():
    with pytest.raises(CourseError, match="6N"):
        flops.per_token(KNOWN["gpt2"], 1024, "marketing")


def test_printed_mfu_is_found_again():
    """MPT-7B on 8 H100 at 2,048 tokens: 10,643 tokens/s are printed as 459 TFLOP/s of model FLOPs."""
    counted = 10643 * flops.per_token(KNOWN["mpt-7b"], 2048, "6N+attention") / 1e12
    assert counted == pytest.approx(459, abs=2)


def test_a_model_is_known_by_its_sizes():
    sizes = "layers=32, hidden=4096,heads=32,kv_heads=8,ffn=14336,vocab=128256"
    assert shapes.model(sizes) == KNOWN["llama-3-8b"]
    assert shapes.model("layers=2,hidden=64,heads=4,ffn=128,vocab=100,tied=1").tied is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layers=2,hidden=64", "The model's heads is missing"),
        ("layers=two,hidden=64", "layers='two' is impossible"),
        ("layers=2,width=64", "A model has no size 'width'"),
        ("layers=2,hidden=66,heads=4,ffn=128,vocab=100", "heads"),
        ("=", "A model has no size ''"),
        ("llama-9", "or give the sizes"),
    ],
)
def test_sizes_that_are_none_get_a_sentence(text, says):
    with pytest.raises(CourseError, match=says):
        shapes.model(text)
