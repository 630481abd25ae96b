"""A config.json of Hugging Face: counted as transformers counts, and named where it cannot be described."""

import json

import pytest

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan import browser, hub_config, plan, shapes
from scaleup.plan.more_models import MORE
from scaleup.plan.panel import panel
from scaleup.plan.question import machine_facts

DATA = json.loads((root() / "data/model_configs.json").read_text("utf-8"))
MODELS = {model["name"]: model for model in DATA["models"]}
FAMILIES = (
    "llama", "qwen", "gemma", "mistral", "mixtral", "deepseek", "gpt_oss", "apertus", "olmo", "falcon",
    "bloom", "gpt_neox",
)  # fmt: skip
SMALL = MODELS["EuroLLM-1.7B"]["config"]


def test_the_data_have_40_configurations_of_all_families_with_their_sources():
    kinds = {model["config"]["model_type"] for model in DATA["models"]}
    assert len(MODELS) == len(DATA["models"]) >= 40
    assert all(any(kind.startswith(family) for kind in kinds) for family in FAMILIES)
    assert all(
        model["source"].startswith("https://") and model["parameters"] > 1e8 for model in DATA["models"]
    )
    assert DATA["read"] and DATA["counted_by"].startswith("transformers ")


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_transformers_counted(name):
    config = MODELS[name]["config"]
    shape, remarks = hub_config.read(config)
    apart = (
        2 * config["num_hidden_layers"] if config["model_type"] == "apertus" else 0
    )  # of xIELU, as it says
    assert shape.parameters + apart == MODELS[name]["parameters"]
    assert bool(remarks) == bool(apart)


@pytest.mark.parametrize("name", ["DeepSeek-V3", "gemma-3-270m", "falcon-40b", "Qwen3-Coder-30B-A3B"])
def test_the_tool_counts_what_is_stored(name):
    pytest.importorskip("transformers")
    from tools import count_models

    assert count_models.count(MODELS[name]["config"]) == MODELS[name]["parameters"]


def test_windows_are_read_from_the_list_the_pattern_or_the_family():
    windows = {
        name: (s.window, s.windowed) for name in MODELS for s, _ in [hub_config.read(MODELS[name]["config"])]
    }
    assert windows["gpt-oss-20b"] == (128, 12) and windows["gemma-2-9b"] == (4096, 21)
    assert windows["gemma-3-270m"] == (512, 15) and windows["occiglot-7b (Mistral-7B-v0.1)"] == (4096, 32)
    assert windows["Minerva-7B"] == windows["Qwen1.5-72B"] == (0, 0)


def test_a_model_that_sees_pictures_is_planned_without_its_eyes():
    whole = {
        "model_type": "gemma3",
        "text_config": MODELS["gemma-3-270m"]["config"],
        "vision_config": {"n": 1},
    }
    shape, remarks = hub_config.read(whole)
    assert shape.parameters == MODELS["gemma-3-270m"]["parameters"]
    assert remarks == ["Planned is the model's text part alone, without its vision part."]


def test_what_is_left_out_is_said():
    _, remarks = hub_config.read(MODELS["DeepSeek-V3"]["config"] | {"num_nextn_predict_layers": 1})
    assert "predicts a further token is left out" in remarks[0]
    _, remarks = hub_config.read(SMALL | {"quantization_config": {"bits": 4}})
    assert "quantization is left out" in remarks[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mamba2"}, "layers are no attention"),
        ({"model_type": "jamba", "mamba_d_state": 16}, "layers are no attention"),
        ({"model_type": "qwen3_next", "layer_types": ["linear_attention"]}, "no softmax attention"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"model_type": "bert"}, "model_type='bert'. Known are llama"),
        ({"model_type": None}, "model_type=None"),
        ({"model_type": ["llama"]}, "Known are llama"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": 2048.5}, "hidden_size=2048.5 in this config.json is not a whole number"),
        ({"num_attention_heads": 7}, "does not split into 7 heads"),
        ({"num_hidden_layers": -1}, "layers=-1 is impossible"),
        ({"attention_bias": True}, "some of its matrices have biases"),
        ({"mlp_only_layers": [0]}, "with and without experts alternate"),
        ({"shared_expert_intermediate_size": 5}, "a gate of its own"),
        ({"model_type": "deepseek_v3"}, "lacks kv_lora_rank"),
        ({"num_local_experts": 8}, "lacks num_experts_per_tok"),
    ],
)
def test_what_it_cannot_describe_it_names(changes, says):
    with pytest.raises(CourseError, match=says):
        hub_config.read(SMALL | changes)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"model_type": "llama"}', "{" * 300_000])
def test_what_is_no_configuration_gets_a_sentence(text):
    with pytest.raises(CourseError, match="config.json"):
        hub_config.parse(text)


def test_shell_notebook_panel_and_page_read_the_same_file(tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SMALL))
    where = ["--machine", "lumi-g", "--nodes", "2", "--global-batch", "64", "--json"]
    printed = []
    for words in (["plan", str(file)], ["plan", str(tmp_path)], ["plan", "--model", str(file)]):
        assert cli.main([*words, *where]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    asked = {"machine": "lumi-g", "nodes": 2, "global_batch": 64}
    here = plan(file.read_text(), **asked).as_dict()
    page = json.loads(browser.reply(json.dumps(asked | {"model": file.read_text()}),
                                    json.dumps({"lumi-g": machine_facts("lumi-g")})))["plan"]  # fmt: skip
    board = panel(file.read_text(), **asked, tokens=0.0).answer.as_dict()
    assert printed[0] == printed[1] == printed[2] == json.loads(json.dumps(here)) == page
    assert board == here and here["parameters"] == MODELS["EuroLLM-1.7B"]["parameters"]


@pytest.mark.parametrize("words", [["missing.json"], ["--model", "missing.json"]])
def test_a_file_that_cannot_be_read_gets_a_sentence(words, capsys):
    assert cli.main(["plan", *words, "--machine", "lumi-g"]) == 2
    assert "missing.json cannot be read: No such file" in capsys.readouterr().err


def test_two_models_are_one_too_many(capsys):
    assert cli.main(["plan", "llama-3-8b", "--model", "gpt2", "--machine", "lumi-g"]) == 2
    assert "Leave one out" in capsys.readouterr().err


def test_models_by_name_have_the_shape_of_their_file():
    for name, sizes in MORE.items():
        config = next(model["config"] for key, model in MODELS.items() if key.lower() == name)
        assert shapes.Shape(**sizes) == hub_config.read(config)[0] == shapes.KNOWN[name]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("meta-llama/Llama-3.1-70B", "llama-3-70b"),
        ("meta-llama/Llama-3.1-405B-Instruct", "llama-3-405b"),
        ("bigscience/bloom-7b1", "bloom-7b1"),
        ("bigscience/bloom", "bloom-176b"),
        ("openai-community/gpt2-xl", "gpt2-xl"),
        ("EuroLLM-22B", "eurollm-22b"),
        ("utter-project/EuroLLM-22B-Instruct-2512", "eurollm-22b"),
        ("swiss-ai/Apertus-8B-2509", "apertus-8b"),
        ("openGPT-X/Teuken-7B-instruct-commercial-v0.4", "teuken-7b"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mixtral-8x22b"),
        ("LumiOpen/Poro-34B-chat", "poro-34b"),
        ("LumiOpen/Viking-33B", "viking-33b"),
        ("sapienzanlp/Minerva-7B-base-v1.0", "minerva-7b"),
        ("BSC-LT/salamandra-7b-instruct", "salamandra-7b"),
        ("BSC-LT/ALIA-40b", "alia-40b"),
        ("allenai/OLMo-2-1124-13B", "olmo-2-13b"),
        ("Qwen/Qwen2.5-72B-Instruct", "qwen2.5-72b"),
        ("Qwen/Qwen3-30B-A3B-Base", "qwen3-30b-a3b"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
    ],
)
def test_names_as_their_owners_write_them(name, meant):
    assert shapes.model(name) is shapes.KNOWN[meant]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "does not only read text"),
        ("xlstm-llama-3-8b", "not all of its layers are attention"),
        ("nvidia/Nemotron-H-8B", "not all of its layers are attention"),
        ("google/t5-11b", "not a decoder"),
        ("EuroLM-22B", "Did you mean eurollm-22b"),
        ("swiss-ai/Apertus-70B-2509", "Give its config.json from Hugging Face"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "Give its config.json from Hugging Face"),
        ("OLMo-3-32B", "Give its config.json from Hugging Face"),
    ],
)
def test_names_of_others_are_not_taken_for_known_ones(name, says):
    with pytest.raises(CourseError, match=says):
        shapes.model(name)
