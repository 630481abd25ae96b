"""The shape of a decoder-only transformer, and how many parameters follow from it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from ..errors import CourseError
from ..words import nearest
from .more_models import MORE

LARGEST = 10**7  # no width, count or vocabulary of a model comes near it
WHOLE_OR_0 = (
    "kv_heads", "head_dim", "positions", "experts", "experts_per_token", "shared_ffn", "dense_layers",
    "dense_ffn", "groups_per_token", "mtp", "q_rank", "kv_rank", "rope_dim", "value_dim", "window",
    "windowed", "norms",
)  # fmt: skip
LONGEST_NAME = 60  # of a model; of longer ones only so much is read


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer. Widths are in numbers, not bytes.

    `ffn` is the width inside the MLP, or inside one expert. `gated`: the MLP has three matrices (SwiGLU), not
    two. `positions` is the number of learned position vectors (0 for rotary positions or ALiBi).
    `norm_vectors` is 1 for RMSNorm (a weight) and 2 for LayerNorm (a weight and a bias).

    Mixtures of experts: `shared_ffn` is the width of what every token meets beside its experts. The first
    `dense_layers` have an MLP `dense_ffn` wide and no experts. A token's experts lie in at most
    `groups_per_token` groups, which are meant to be nodes (0: anywhere). `mtp` modules predict further tokens
    in training; each is a layer with a matrix that joins two streams.

    `kv_rank` > 0 is multi-head latent attention: keys and values are worked out from so many numbers, queries
    from `q_rank` (0: from the whole width). Then `head_dim` is the part of a key without a position,
    `rope_dim` the part with one, which all heads share, and `value_dim` a value's width.

    `windowed` layers see the last `window` positions only. `sinks`: each head has a number that takes part in
    the softmax, and the router has a bias.

    `norms` are those of one layer: 1 where attention and MLP read the same, 4 where their results are normed,
    too. `qk_norm` norms each head's queries and keys, `wide_qk_norm` all heads' as one vector.
    """

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    kv_heads: int = 0  # 0: as many as heads
    head_dim: int = 0  # 0: hidden / heads
    gated: bool = True
    tied: bool = False
    positions: int = 0
    qkv_bias: bool = False
    bias: bool = False
    norm_vectors: int = 1
    qk_norm: bool = False
    embedding_norm: bool = False
    experts: int = 0
    experts_per_token: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    dense_ffn: int = 0
    groups_per_token: int = 0
    mtp: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    value_dim: int = 0
    window: int = 0
    windowed: int = 0
    sinks: bool = False
    norms: int = 2
    wide_qk_norm: bool = False

    def __post_init__(self) -> None:
        for field in ("layers", "hidden", "heads", "ffn", "vocab"):
            value = getattr(self, field)
            if not isinstance(value, int) or not 1 <= value <= LARGEST:
                raise CourseError(f"{field}={value!r:.40} is impossible. Give a whole number from 1.")
        for field in WHOLE_OR_0:
            value = getattr(self, field)
            if not isinstance(value, int) or not 0 <= value <= LARGEST:
                raise CourseError(f"{field}={value!r:.40} is impossible. Give a whole number, or 0.")
        if not self.kv_heads:
            object.__setattr__(self, "kv_heads", self.heads)
        if not self.head_dim:
            if self.hidden % self.heads:
                raise CourseError(
                    f"A width of {self.hidden} does not split into {self.heads} heads. "
                    f"Choose a number of heads that divides it."
                )
            object.__setattr__(self, "head_dim", self.hidden // self.heads)
        if self.heads % self.kv_heads:
            raise CourseError(
                f"{self.heads} heads cannot share {self.kv_heads} key-value heads. "
                f"Choose a number that divides the heads."
            )
        if bool(self.experts) != bool(self.experts_per_token) or self.experts_per_token > self.experts:
            raise CourseError("A mixture of experts needs `experts` and `experts_per_token` of at most that.")
        if self.dense_layers > self.layers or self.windowed > self.layers:
            raise CourseError(f"dense_layers and windowed count some of the {self.layers} layers, not more.")
        if bool(self.dense_layers) != bool(self.dense_ffn) or self.shared_ffn and not self.experts:
            raise CourseError("`dense_layers` needs `dense_ffn`, and `shared_ffn` needs `experts`.")
        if bool(self.kv_rank) != bool(self.value_dim) or self.q_rank and not self.kv_rank:
            raise CourseError("Latent attention needs `kv_rank` and `value_dim`; `q_rank` goes with them.")

    @cached_property
    def query_width(self) -> int:
        """What attention hands to its last matrix: one value for each head."""
        return self.heads * (self.value_dim or self.head_dim)

    @cached_property
    def score_width(self) -> float:
        """Width of a product of the scores, and of their use, in the mean over both."""
        key = self.head_dim + self.rope_dim
        return self.heads * (key + (self.value_dim or key)) / 2

    @cached_property
    def qkv_width(self) -> int:
        """Queries, keys and values together, as the attention kernel reads them."""
        if self.kv_rank:
            return self.heads * (2 * (self.head_dim + self.rope_dim) + self.value_dim)
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @cached_property
    def mlp_matrices(self) -> int:
        return 3 if self.gated else 2

    @cached_property
    def attention_matrices(self) -> int:
        """Numbers in the matrices of one layer's attention: four, or those of latent attention."""
        if self.kv_rank:
            queries = self.heads * (self.head_dim + self.rope_dim)
            down = self.hidden * (self.kv_rank + self.rope_dim + self.q_rank)
            up = queries * (self.q_rank or self.hidden)
            up += self.kv_rank * self.heads * (self.head_dim + self.value_dim)
            return down + up + self.query_width * self.hidden
        return self.hidden * (self.qkv_width + self.query_width)

    @cached_property
    def mlp_matrix(self) -> int:
        """Numbers in the matrices of one MLP, or of one expert."""
        return self.mlp_matrices * self.hidden * self.ffn

    @cached_property
    def shared_matrix(self) -> int:
        """Numbers in the matrices that every token meets beside its experts."""
        return self.mlp_matrices * self.hidden * self.shared_ffn

    @cached_property
    def layer_parameters(self) -> int:
        """Parameters of one layer, all experts counted."""
        attention = self.attention_matrices
        attention += self.qkv_width if self.qkv_bias or self.bias else 0
        attention += self.hidden if self.bias else 0
        attention += 2 * self.head_dim if self.qk_norm else 0
        attention += (self.heads + self.kv_heads) * self.head_dim if self.wide_qk_norm else 0
        mlp = self.mlp_matrix
        mlp += (self.mlp_matrices - 1) * self.ffn + self.hidden if self.bias else 0
        if self.experts:
            mlp = self.experts * mlp + self.hidden * self.experts  # the router's matrix
            mlp += self.shared_matrix + (self.experts if self.sinks else 0)
        attention += self.q_rank + self.kv_rank  # norms of what queries, keys and values come from
        attention += self.heads if self.sinks else 0
        return attention + mlp + self.norms * self.norm_vectors * self.hidden

    @cached_property
    def embedding_parameters(self) -> int:
        """Tokens, positions and the norm behind them: what the first stage of a pipeline holds."""
        extra = self.norm_vectors * self.hidden if self.embedding_norm else 0
        return self.vocab * self.hidden + self.positions * self.hidden + extra

    @cached_property
    def head_parameters(self) -> int:
        """The matrix that turns the last layer into logits; it exists once more only where it is not tied."""
        return self.vocab * self.hidden

    @cached_property
    def final_norm_parameters(self) -> int:
        return self.norm_vectors * self.hidden

    @cached_property
    def parameters(self) -> int:
        """All parameters."""
        ends = self.embedding_parameters + self.final_norm_parameters
        ends += 0 if self.tied else self.head_parameters
        return self.inner_parameters + ends

    @cached_property
    def inner_parameters(self) -> int:
        """Parameters of all layers, those without experts and those that predict further tokens included."""
        experts = self.experts * (self.mlp_matrix + self.hidden) + self.shared_matrix
        dense = self.mlp_matrices * self.hidden * self.dense_ffn
        joined = self.mtp * (self.layer_parameters + 2 * self.hidden**2 + 3 * self.norm_vectors * self.hidden)
        return self.layers * self.layer_parameters - self.dense_layers * (experts - dense) + joined

    @cached_property
    def matmul_parameters_per_layer(self) -> int:
        """Numbers of one layer's matrices that one token meets: of the experts only those it is sent to."""
        if not self.experts:
            return self.attention_matrices + self.mlp_matrix
        met = self.experts_per_token * self.mlp_matrix + self.shared_matrix + self.hidden * self.experts
        return self.attention_matrices + met

    @cached_property
    def active_parameters(self) -> int:
        """All parameters without the experts that a token is not sent to."""
        idle = (self.experts - self.experts_per_token) * self.mlp_matrix if self.experts else 0
        return self.parameters - (self.layers + self.mtp - self.dense_layers) * idle


def _gpt(layers: int, hidden: int, heads: int, vocab: int, positions: int, **more) -> Shape:
    """GPT-2's family: LayerNorm, biases, learned positions, one matrix for tokens and logits."""
    return Shape(
        layers, hidden, heads, 4 * hidden, vocab, gated=False, tied=True, positions=positions, bias=True,
        norm_vectors=2, **more,
    )  # fmt: skip


def _mpt(layers: int, hidden: int, heads: int) -> Shape:
    """MPT as in LLM Foundry's benchmark: no biases, learned positions of a 2,048-token window."""
    return Shape(layers, hidden, heads, 4 * hidden, 50368, gated=False, tied=True, positions=2048)


_LLAMA3 = {"vocab": 128256, "kv_heads": 8}

KNOWN: dict[str, Shape] = {
    **{name: Shape(**sizes) for name, sizes in MORE.items()},
    "gpt2": _gpt(12, 768, 12, 50257, 1024),
    "gpt2-xl": _gpt(48, 1600, 25, 50257, 1024),
    "gpt3-175b": _gpt(96, 12288, 96, 50257, 2048),
    "opt-1.3b": _gpt(24, 2048, 32, 50272, 2050),
    "opt-6.7b": _gpt(32, 4096, 32, 50272, 2050),
    "opt-30b": _gpt(48, 7168, 56, 50272, 2050),
    "opt-175b": _gpt(96, 12288, 96, 50272, 2050),
    "bloom-7b1": _gpt(30, 4096, 32, 250880, 0, embedding_norm=True),
    "bloom-176b": _gpt(70, 14336, 112, 250880, 0, embedding_norm=True),
    "mt-nlg-530b": _gpt(105, 20480, 128, 50257, 2048),
    "gpt-neox-20b": Shape(44, 6144, 64, 24576, 50432, gated=False, bias=True, norm_vectors=2),
    "mpt-125m": _mpt(12, 768, 12),
    "mpt-350m": _mpt(24, 1024, 16),
    "mpt-760m": _mpt(24, 1536, 12),
    "mpt-1b": _mpt(24, 2048, 16),
    "mpt-3b": _mpt(32, 2560, 20),
    "mpt-7b": _mpt(32, 4096, 32),
    "mpt-13b": _mpt(40, 5120, 40),
    "mpt-30b": _mpt(48, 7168, 56),
    "mpt-70b": _mpt(80, 8192, 64),
    "llama-1-7b": Shape(32, 4096, 32, 11008, 32000),
    "llama-1-65b": Shape(80, 8192, 64, 22016, 32000),
    "llama-2-7b": Shape(32, 4096, 32, 11008, 32000),
    "llama-2-13b": Shape(40, 5120, 40, 13824, 32000),
    "llama-2-70b": Shape(80, 8192, 64, 28672, 32000, kv_heads=8),
    "llama-3.2-1b": Shape(16, 2048, 32, 8192, tied=True, **_LLAMA3),
    "llama-3.2-3b": Shape(28, 3072, 24, 8192, tied=True, **_LLAMA3),
    "llama-3-8b": Shape(32, 4096, 32, 14336, **_LLAMA3),
    "llama-3-70b": Shape(80, 8192, 64, 28672, **_LLAMA3),
    "llama-3-405b": Shape(126, 16384, 128, 53248, **_LLAMA3),
    "mistral-7b": Shape(32, 4096, 32, 14336, 32000, kv_heads=8),
    "mixtral-8x7b": Shape(32, 4096, 32, 14336, 32000, kv_heads=8, experts=8, experts_per_token=2),
    "qwen2.5-0.5b": Shape(24, 896, 14, 4864, 151936, kv_heads=2, qkv_bias=True, tied=True),
    "qwen2.5-7b": Shape(28, 3584, 28, 18944, 152064, kv_heads=4, qkv_bias=True),
    "qwen2.5-32b": Shape(64, 5120, 40, 27648, 152064, kv_heads=8, qkv_bias=True),
    "qwen2.5-72b": Shape(80, 8192, 64, 29568, 152064, kv_heads=8, qkv_bias=True),
    "qwen3-1.7b": Shape(28, 2048, 16, 6144, 151936, kv_heads=8, head_dim=128, qk_norm=True, tied=True),
    "qwen3-8b": Shape(36, 4096, 32, 12288, 151936, kv_heads=8, qk_norm=True),
    "qwen3-30b-a3b": Shape(
        48, 2048, 32, 768, 151936, kv_heads=4, head_dim=128, qk_norm=True, experts=128, experts_per_token=8
    ),
    "qwen3-235b-a22b": Shape(
        94, 4096, 64, 1536, 151936, kv_heads=4, head_dim=128, qk_norm=True, experts=128, experts_per_token=8
    ),
    "deepseek-v3": Shape(
        61, 7168, 128, 2048, 129280, head_dim=128, experts=256, experts_per_token=8, shared_ffn=2048,
        dense_layers=3, dense_ffn=18432, groups_per_token=4, q_rank=1536, kv_rank=512, rope_dim=64,
        value_dim=128,
    ),
    "kimi-k2": Shape(
        61, 7168, 64, 2048, 163840, head_dim=128, experts=384, experts_per_token=8, shared_ffn=2048,
        dense_layers=1, dense_ffn=18432, q_rank=1536, kv_rank=512, rope_dim=64, value_dim=128,
    ),
    "gpt-oss-20b": Shape(
        24, 2880, 64, 2880, 201088, 8, 64, bias=True, sinks=True, experts=32, experts_per_token=4, window=128,
        windowed=12,
    ),
    "gpt-oss-120b": Shape(
        36, 2880, 64, 2880, 201088, 8, 64, bias=True, sinks=True, experts=128, experts_per_token=4,
        window=128, windowed=18,
    ),
    "nemotron-4-15b": Shape(32, 6144, 48, 24576, 256000, kv_heads=8, gated=False, norm_vectors=2),
    "nemotron-4-340b": Shape(96, 18432, 96, 73728, 256000, kv_heads=8, gated=False, norm_vectors=2),
}  # fmt: skip

UNSUPPORTED = {
    "nemotron-h": "it mixes Mamba layers with attention",
    "nemotron_h": "it mixes Mamba layers with attention",
    "nemotron_3_nano": "it mixes Mamba layers with attention",
}

_PLAIN_LLAMA = r"llama(?![-_ ]?\d[-_ ])(?!-like)"
# How published tables write a family's name. A number of parameters follows it.
_FAMILIES = (
    (r"llama[-_ ]?3\.?2", "llama-3.2"),
    (r"llama[-_ ]?3(\.[01])?(?![.\d])", "llama-3"),
    (r"llama[-_ ]?2", "llama-2"),
    (_PLAIN_LLAMA, "llama-3"),
    (r"mistral", "mistral"),
    (r"qwen[-_ ]?3", "qwen3"),
    (r"qwen[-_ ]?2\.5", "qwen2.5"),
    (r"mpt", "mpt"),
    (r"opt", "opt"),
    (r"bloom", "bloom"),
    (r"gpt[-_ ]?neox", "gpt-neox"),
    (r"gpt[-_ ]?3", "gpt3"),
    (r"gpt[-_ ]?2", "gpt2"),
    (r"mt[-_ ]?nlg", "mt-nlg"),
    (r"nemotron[-_ ]?4", "nemotron-4"),
    (r"gpt[-_ ]?oss", "gpt-oss"),
)


# What a name may say of a model without changing its shape; dates such as 2512, and versions with a point.
_TUNED = re.compile(
    r"base|instruct|chat|it|hf|sft|dpo|think|reasoning|research|commercial|preview|deduped|meta|bf16|fp8"
    r"|v\d+\.\d+|\d{4}"
)
_OTHERS = {
    r"vl|vision|omni|audio|ocr|image": "it does not only read text",
    r"x?lstm|mamba|jamba|rwkv|nemotron[-_ ]h": "not all of its layers are attention",
    r"embedding|reranker|bert|t5|bart": "it is not a decoder that writes text",
}
_SHORT = {"bloom": "bloom-176b", "mixtral": "mixtral-8x7b", "gpt3": "gpt3-175b"}


def plain(name: str) -> str:
    """A name without its owner, its tuning and its marks: "BSC-LT/salamandra-7b-instruct" is salamandra7b."""
    words = re.split(r"[-_ ]+", name.rsplit("/", 1)[-1].lower())
    return "".join(word for word in words if not _TUNED.fullmatch(word))


@cache
def plain_names() -> dict[str, str]:
    """{plain name: name} of KNOWN."""
    return {plain(name): name for name in KNOWN}


def other_kind(name: str) -> str | None:
    """Why a name, which may have a known one inside, means a model of another kind; None if it does not."""
    text = name[:LONGEST_NAME].lower()
    return next(
        (why for words, why in _OTHERS.items() if re.search(rf"(?<![a-z])({words})(?![a-z])", text)), None
    )


def known(name: str) -> Shape | None:
    """The public model that a name in a table means, if it is one: "LLAMA3.1_405B" is llama-3-405b."""
    return _known(name.strip()[:LONGEST_NAME].lower())


@lru_cache(4096)  # a table has few names in many rows
def _known(text: str) -> Shape | None:
    if text in KNOWN:
        return KNOWN[text]
    if other_kind(text):
        return None
    short = plain(text)
    if found := plain_names().get(short, _SHORT.get(short)):
        return KNOWN[found]
    if re.search(r"\blike\b|\bstyle\b|candidate", text):
        return None
    if "mixtral" in text and "8x7b" in text:
        return KNOWN["mixtral-8x7b"]
    if re.search(r"kimi[-_ ]?k2(?!\.)", text):
        return KNOWN["kimi-k2"]
    if re.search(r"deep[-_ ]?seek[-_ ]?v3(?!\.)", text):
        return KNOWN["deepseek-v3"]
    for pattern, family in _FAMILIES:
        found = re.search(rf"(?<![a-z]){pattern}(?P<rest>.*)", text)
        if not found:
            continue
        rest = found["rest"]
        size = re.search(r"(\d+(?:\.\d+)?)\s*([mb])(?:[-_]?a(\d+)b)?", rest)
        if size:
            ending = f"{size[1]}{size[2]}" + (f"-a{size[3]}b" if size[3] else "")
            for generation in ("llama-3", "llama-2", "llama-1") if pattern == _PLAIN_LLAMA else (family,):
                if f"{generation}-{ending}" in KNOWN:
                    return KNOWN[f"{generation}-{ending}"]
    return None


def model(name: str) -> Shape:
    """A model of KNOWN by its name, or one by its sizes (see from_sizes).

    Raises CourseError with the names that exist, or with the size that is none.
    """
    if isinstance(name, str) and "=" in name:
        return from_sizes(name)
    if isinstance(name, str) and (found := known(name)):
        return found
    said = str(name)[:LONGEST_NAME]
    if why := other_kind(said):
        raise CourseError(
            f"The planner cannot describe {said!r}: {why}. Give the sizes of a model that it can."
        )
    near = nearest(plain(said), plain_names())
    meant = f" Did you mean {plain_names()[near]}?" if near else ""
    raise CourseError(
        f"There is no model {said!r}.{meant} Give its config.json from Hugging Face, or give the sizes: "
        f"layers=12,hidden=768,heads=12,ffn=2048,vocab=32000. Known are, such as llama-3-8b, {families()}."
    )


def families() -> str:
    """The families in KNOWN, each once: "eurollm, apertus, …"."""
    return ", ".join(dict.fromkeys(re.sub(r"-?(\d+x)?\d+(\.\d+)?[bm].*|-xl$", "", name) for name in KNOWN))


def from_sizes(text: str) -> Shape:
    """A model from words such as "layers=12,hidden=768,heads=12,ffn=2048,vocab=32000,kv_heads=4,tied=1"."""
    fields = {field.name: field for field in dataclasses.fields(Shape)}
    sizes: dict[str, int | bool] = {}
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        if name not in fields:
            raise CourseError(f"A model has no size {name[:LONGEST_NAME]!r}. It has {', '.join(fields)}.")
        if not (value.isascii() and value.isdigit() and len(value) < 12):
            raise CourseError(f"{name}={value[:LONGEST_NAME]!r} is impossible. Give a whole number.")
        sizes[name] = int(value) if fields[name].type == "int" else value != "0"
    needed = ("layers", "hidden", "heads", "ffn", "vocab")
    if missing := [name for name in needed if name not in sizes]:
        raise CourseError(f"The model's {missing[0]} is missing. A model needs {', '.join(needed)}.")
    return Shape(**sizes)


def scaled(shape: Shape, **changes) -> Shape:
    """The same shape with some numbers replaced; kv_heads and head_dim follow unless they are given."""
    if "heads" in changes or "hidden" in changes:
        changes = {"kv_heads": 0, "head_dim": 0} | changes
    return dataclasses.replace(shape, **changes)
