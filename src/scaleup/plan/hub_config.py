"""A model's `config.json`, as Hugging Face has it -> its shape, and what of it the planner leaves out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CourseError
from .shapes import Shape

LONGEST = 200_000  # characters of a file: of such files the longest have lists of a few hundred layers
WORDS = {  # what a field of Shape is called, the usual word first
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab": ("vocab_size",),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim",),
    "window": ("sliding_window",),
    "experts": ("num_local_experts", "n_routed_experts", "num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "experts_per_token"),
    "expert_ffn": ("moe_intermediate_size",),
}


@dataclass(frozen=True)
class Family:
    """What all models of one `model_type` share and their files do not say."""

    fixed: Mapping[str, object]  # fields of Shape
    tied: bool = False  # where the file does not say it
    kv_heads: int = 0  # where the file does not say it; 0: as many as heads


_OLD = {"gated": False, "bias": True, "norm_vectors": 2}  # GPT-2 and those that followed it
_SANDWICH = {"norms": 4}  # norms before and behind attention and MLP
FAMILIES = {
    "llama": Family({}),
    "aquila": Family({}),
    "gptx": Family({}),  # OpenGPT-X's Teuken
    "mistral": Family({}, kv_heads=8),
    "ministral": Family({}, kv_heads=8),
    "mixtral": Family({}, kv_heads=8),
    "qwen2": Family({"qkv_bias": True}),
    "qwen3": Family({"qk_norm": True}),
    "qwen3_moe": Family({"qk_norm": True}),
    "gemma": Family({}, tied=True),
    "gemma2": Family(_SANDWICH, tied=True),
    "gemma3_text": Family({"qk_norm": True} | _SANDWICH, tied=True),
    "deepseek_v2": Family({}),
    "deepseek_v3": Family({}),
    "kimi_k2": Family({}),
    "gpt_oss": Family({"bias": True, "sinks": True}),
    "apertus": Family({"gated": False, "qk_norm": True}),
    "nemotron": Family({"gated": False, "norm_vectors": 2}),
    "olmo": Family({"norm_vectors": 0}),
    "olmo2": Family({"wide_qk_norm": True}),
    "olmo3": Family({"wide_qk_norm": True}),
    "olmoe": Family({"wide_qk_norm": True}),
    "falcon": Family({"gated": False, "norm_vectors": 2}, tied=True),
    "bloom": Family(_OLD | {"embedding_norm": True}, tied=True),
    "gpt_neox": Family(_OLD),
    "gpt2": Family(_OLD, tied=True),
    "opt": Family(_OLD, tied=True),
}
# Names by which the same families went.
FORMERLY = {
    "RefinedWeb": "falcon",
    "RefinedWebModel": "falcon",
    "olmo_1124": "olmo2",
    "gemma3": "gemma3_text",
}
BEYOND = {
    "mamba": "its layers are no attention",
    "ssm": "some of its layers are no attention",
    "linear_attention": "some of its layers are no softmax attention",
    "recurrent": "some of its layers are recurrent",
    "rwkv": "its layers are recurrent",
    "xlstm": "its layers are recurrent",
    "is_encoder_decoder": "it has an encoder and a decoder",
}


def looks_like_one(text: str) -> bool:
    """Is this a file's content, not a name?"""
    return text.lstrip().startswith("{")


def parse(text: str) -> tuple[Shape, list[str]]:
    """Shape and remarks from the text of a `config.json`. Raises CourseError, with a sentence, for others."""
    if len(text) > LONGEST:
        raise CourseError(f"A config.json of {len(text):,} characters is none. Give the model's own.")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CourseError(f"This config.json is no JSON: {error}. Give the model's own, unchanged.") from None
    if not isinstance(found, dict):
        raise CourseError("This config.json is a list or a number, not the settings of a model.")
    return read(found)


def read(config: Mapping[str, object]) -> tuple[Shape, list[str]]:
    """The same from settings that were parsed. The remarks name what the plan leaves out."""
    config, remarks = text_part(config)
    kind = config.get("model_type")
    kind = FORMERLY.get(kind, kind) if isinstance(kind, str) else None
    if why := beyond(config):
        raise CourseError(f"The planner cannot describe this model: {why}.")
    if kind not in FAMILIES:
        said = f"model_type={config.get('model_type')!r:.40}" if "model_type" in config else "no model_type"
        raise CourseError(
            f"This config.json has {said}. Known are {', '.join(FAMILIES)}; or give the model's sizes: "
            "layers=12,hidden=768,heads=12,ffn=2048,vocab=32000."
        )
    family = FAMILIES[kind]
    sizes: dict[str, object] = dict(family.fixed)
    sizes |= {name: whole(config, name) for name in ("layers", "hidden", "heads", "vocab")}
    sizes["ffn"] = whole(config, "ffn", 4 * sizes["hidden"] if not sizes.get("gated", True) else None)
    sizes["kv_heads"] = whole(config, "kv_heads", family.kv_heads)
    sizes["head_dim"] = whole(config, "head_dim", 0)
    sizes["tied"] = flag(config, "tie_word_embeddings", family.tied)
    sizes |= biases(config, kind, sizes) | mixture(config, sizes, remarks) | windows(config, kind, sizes)
    if kind in OWN:
        sizes |= OWN[kind](config, sizes, remarks)
    if config.get("quantization_config"):
        remarks.append("The file's quantization is left out: training keeps its weights in 16 bit and more.")
    return Shape(**sizes), remarks


def text_part(config: Mapping[str, object]) -> tuple[Mapping[str, object], list[str]]:
    """Of a model for pictures or sound only what reads text, with a remark."""
    inner = config.get("text_config") or config.get("llm_config")
    if not isinstance(inner, dict):
        return config, []
    others = [name.removesuffix("_config") for name in ("vision_config", "audio_config") if config.get(name)]
    remark = f"Planned is the model's text part alone, without its {' and '.join(others) or 'other'} part."
    whole_model = (
        {"tie_word_embeddings": config["tie_word_embeddings"]} if "tie_word_embeddings" in config else {}
    )
    return whole_model | inner, [remark]


def beyond(config: Mapping[str, object]) -> str | None:
    """Why no formula of the planner describes these settings, or None."""
    kind = str(config.get("model_type") or "")
    layer_types = config.get("layer_types")
    listed = {str(each) for each in layer_types} if isinstance(layer_types, list) else set()
    for word, why in BEYOND.items():
        used = word in kind or word in listed or any(key.startswith(f"{word}_") for key in config)
        if used or config.get(word) is True:
            return f"{why} ({word})"
    sparse = config.get("decoder_sparse_step", config.get("moe_layer_freq", 1))
    if config.get("mlp_only_layers") or sparse not in (1, None):
        return "its layers with and without experts alternate (mlp_only_layers, moe_layer_freq)"
    if config.get("shared_expert_intermediate_size"):
        return "a gate of its own weighs its shared expert (shared_expert_intermediate_size)"
    return None


def whole(config: Mapping[str, object], name: str, default: int | None = None) -> int:
    """A whole number by any of its WORDS. Raises CourseError where it is missing and has no default."""
    for word in WORDS[name]:
        value = config.get(word)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise CourseError(f"{word}={value!r:.40} in this config.json is not a whole number.")
        return value
    if default is None:
        raise CourseError(f"This config.json lacks {WORDS[name][0]}. Give the model's own, unchanged.")
    return default


def flag(config: Mapping[str, object], word: str, default: bool) -> bool:
    value = config.get(word)
    return default if value is None else bool(value)


def biases(config: Mapping[str, object], kind: str, sizes: Mapping[str, object]) -> dict[str, object]:
    """Raises CourseError where some of the matrices have biases, and which is not described."""
    attention, mlp = flag(config, "attention_bias", False), flag(config, "mlp_bias", False)
    if kind in ("gpt_oss", "gpt_neox") or not attention and not mlp:
        return {}
    if attention and mlp:
        return {"bias": True}
    raise CourseError("The planner cannot describe this model: some of its matrices have biases, others not.")


def mixture(config: Mapping[str, object], sizes: Mapping[str, object], remarks: list[str]) -> dict:
    """Experts, shared ones, and the first layers that have none."""
    experts = whole(config, "experts", 0)
    if not experts:
        return {}
    found = {"experts": experts, "experts_per_token": whole(config, "experts_per_token")}
    found["ffn"] = whole(config, "expert_ffn", sizes["ffn"])
    if shared := config.get("n_shared_experts"):
        found["shared_ffn"] = int(shared) * found["ffn"]
    if dense := config.get("first_k_dense_replace"):
        found |= {"dense_layers": int(dense), "dense_ffn": sizes["ffn"]}
    groups, chosen = config.get("n_group"), config.get("topk_group")
    if isinstance(groups, int) and isinstance(chosen, int) and chosen < groups:
        found["groups_per_token"] = chosen
    if config.get("num_nextn_predict_layers"):
        remarks.append("The module that predicts a further token is left out, as transformers leaves it out.")
    return found


def windows(config: Mapping[str, object], kind: str, sizes: Mapping[str, object]) -> dict[str, int]:
    """Layers that see a window only: listed, every few layers, or all of them."""
    window = whole(config, "window", 0)
    if not window or config.get("use_sliding_window") is False:
        return {}
    layers = sizes["layers"]
    listed = config.get("layer_types")
    every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern")
    every = every or {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2, "olmo3": 4}.get(kind)
    if isinstance(listed, list) and len(listed) == layers:
        some = sum(each == "sliding_attention" for each in listed)
    elif isinstance(every, int) and every > 0:
        some = layers - layers // every
    else:
        some = layers if kind in ("mistral", "ministral", "mixtral") else 0
    return {"window": window, "windowed": some} if some else {}


def latent(config: Mapping[str, object], sizes: Mapping[str, object], remarks: list[str]) -> dict:
    """DeepSeek's attention: keys and values from few numbers."""
    words = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    if missing := [word for word in words if not isinstance(config.get(word), int)]:
        raise CourseError(f"This config.json lacks {missing[0]}. Give the model's own, unchanged.")
    rank, plain, rotary, value = (config[word] for word in words)
    return {
        "kv_rank": rank, "head_dim": plain, "rope_dim": rotary, "value_dim": value, "kv_heads": 0,
        "q_rank": config.get("q_lora_rank") or 0,
    }  # fmt: skip


def falcon(config: Mapping[str, object], sizes: Mapping[str, object], remarks: list[str]) -> dict:
    """Attention and MLP side by side, behind one norm or two; one key-value head unless it says more."""
    new = flag(config, "new_decoder_architecture", config.get("model_type") == "RefinedWeb")
    kv_heads = whole(config, "kv_heads", 0) if new else 1 if flag(config, "multi_query", True) else 0
    side_by_side = new or flag(config, "parallel_attn", True)
    two = new and config.get("num_ln_in_parallel_attn") != 1 or not side_by_side
    return {"kv_heads": kv_heads, "norms": 2 if two else 1, "bias": flag(config, "bias", False)}


def positions(config: Mapping[str, object], sizes: Mapping[str, object], remarks: list[str]) -> dict:
    """Learned positions; OPT has two more than it says."""
    said = config.get("n_positions") or config.get("max_position_embeddings") or config.get("n_ctx")
    if not isinstance(said, int):
        raise CourseError("This config.json lacks n_positions. Give the model's own, unchanged.")
    if config.get("word_embed_proj_dim", sizes["hidden"]) != sizes["hidden"]:
        raise CourseError("The planner cannot describe this model: its embedding has another width.")
    return {"positions": said + (2 if config.get("model_type") == "opt" else 0)}


def apertus(config: Mapping[str, object], sizes: Mapping[str, object], remarks: list[str]) -> dict:
    remarks.append("The two numbers in each layer's activation function are left out of the parameters.")
    return {}


OWN = {
    "deepseek_v2": latent, "deepseek_v3": latent, "kimi_k2": latent, "falcon": falcon, "gpt2": positions,
    "opt": positions, "apertus": apertus,
}  # fmt: skip
