"""Configs of tiny random models of many architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import transformers

WORDS = [
    "red",
    "blue",
    "green",
    "round",
    "square",
    "flat",
    "small",
    "large",
    "wet",
    "dry",
    "is",
    "it",
    "good",
    "bad",
    "the",
    "a",
    "answer",
    "yes",
    "no",
]
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = len(SPECIAL) + len(WORDS)

IDS = {"vocab_size": VOCABULARY, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
BERT = {"vocab_size": VOCABULARY, **SMALL, "pad_token_id": 0}
ROBERTA = {**BERT, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
LLAMA = {**IDS, **SMALL, "num_key_value_heads": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "eos_token_id": 3,
    "decoder_start_token_id": 0,
}
BART = {
    **IDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 3,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
MAMBA = {**IDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
MAMBA2_HEADS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}


class Family(NamedTuple):
    """One architecture."""

    auto: str
    """The transformers class that builds it."""
    config: Callable[[], Any]
    refused: str | None = None
    """A part of the one line that refuses it; None where the whole workflow works."""
    tasks: tuple[str, ...] = ()
    """Kinds of task to try instead of all of its architecture."""


def encoder(name: str, refused: str | None = None, **fields: Any) -> Family:
    return Family("AutoModel", lambda: getattr(transformers, f"{name}Config")(**fields), refused)


def causal(name: str, refused: str | None = None, **fields: Any) -> Family:
    return Family("AutoModelForCausalLM", lambda: getattr(transformers, f"{name}Config")(**fields), refused)


def seq2seq(name: str, refused: str | None = None, **fields: Any) -> Family:
    return Family("AutoModelForSeq2SeqLM", lambda: getattr(transformers, f"{name}Config")(**fields), refused)


ENCODERS: Mapping[str, Family] = {
    "albert": encoder("Albert", **BERT, embedding_size=16),
    "bert": encoder("Bert", **BERT),
    "big-bird": encoder("BigBird", **BERT),
    "camembert": encoder("Camembert", **ROBERTA),
    "convbert": encoder("ConvBert", **BERT, embedding_size=32),
    "data2vec-text": encoder("Data2VecText", **ROBERTA),
    "deberta": encoder("Deberta", **BERT, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": encoder(
        "DebertaV2", **BERT, relative_attention=True, pos_att_type=["c2p", "p2c"], conv_kernel_size=3
    ),
    "distilbert": encoder(
        "DistilBert",
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        max_position_embeddings=64,
    ),
    "electra": encoder("Electra", **BERT, embedding_size=16),
    "ernie": encoder("Ernie", **BERT),
    "esm": encoder("Esm", **ROBERTA, mask_token_id=6, position_embedding_type="absolute"),
    "eurobert": encoder("EuroBert", **LLAMA),
    "flaubert": encoder("Flaubert", n_words=VOCABULARY, emb_dim=32, n_layers=2, n_heads=4, pad_index=0),
    "fnet": encoder("FNet", **BERT),
    "ibert": encoder("IBert", "has no Linear layer", **ROBERTA),
    "layoutlm": encoder("LayoutLM", **BERT),
    "longformer": encoder("Longformer", **ROBERTA, attention_window=16),
    "luke": encoder("Luke", **ROBERTA, entity_vocab_size=4, entity_emb_size=16),
    "megatron-bert": encoder("MegatronBert", **BERT),
    "mobilebert": encoder("MobileBert", **BERT, embedding_size=32, intra_bottleneck_size=32),
    "modernbert": encoder(
        "ModernBert", **BERT, bos_token_id=2, eos_token_id=3, cls_token_id=4, sep_token_id=5
    ),
    "mpnet": encoder("MPNet", **{**BERT, "pad_token_id": 1}),
    "nystromformer": encoder("Nystromformer", **BERT, segment_means_seq_len=64, num_landmarks=64),
    "rembert": encoder("RemBert", **BERT, input_embedding_size=16),
    "roberta": encoder("Roberta", **ROBERTA),
    "roformer": encoder("RoFormer", **BERT),
    "squeezebert": encoder("SqueezeBert", "has no Linear layer", **BERT, embedding_size=32),
    "xlm": encoder("XLM", n_words=VOCABULARY, emb_dim=32, n_layers=2, n_heads=4, pad_index=0),
    "xlm-roberta": encoder("XLMRoberta", **ROBERTA),
    "xlnet": encoder(
        "XLNet", "not an encoder", vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=48
    ),
    "xmod": encoder("Xmod", **ROBERTA, languages=["en_XX", "de_DE"], default_language="en_XX"),
    "yoso": encoder("Yoso", **BERT),
    "bert-decoder": encoder("Bert", "left to right", **BERT, is_decoder=True),
    "llama-as-encoder": encoder("Llama", "not an encoder", **LLAMA),
    "canine": encoder("Canine", "no table of token embeddings", **BERT),
    "reformer": encoder(
        "Reformer",
        "does not accept only token ids",
        vocab_size=VOCABULARY,
        hidden_size=32,
        attention_head_size=8,
        num_attention_heads=4,
        axial_pos_embds_dim=[16, 16],
        axial_pos_shape=[8, 8],
        attn_layers=["local", "lsh"],
        feed_forward_size=48,
        is_decoder=False,
        max_position_embeddings=64,
    ),
    "clip": encoder(
        "CLIP",
        "no table of token embeddings",
        text_config={"vocab_size": VOCABULARY, **SMALL},
        vision_config=VISION,
        projection_dim=16,
    ),
    "t5-as-encoder": encoder(
        "T5", "not an encoder", vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4
    ),
}

CAUSAL: Mapping[str, Family] = {
    "biogpt": causal("BioGpt", **IDS, **SMALL),
    "bloom": causal("Bloom", **IDS, hidden_size=32, n_layer=2, n_head=4),
    "codegen": causal("CodeGen", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    "cohere": causal("Cohere", **LLAMA),
    "ctrl": causal("CTRL", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, dff=48),
    "falcon": causal("Falcon", **IDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "falcon-alibi": causal(
        "Falcon",
        **IDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        alibi=True,
        new_decoder_architecture=False,
    ),
    "gemma": causal("Gemma", **LLAMA, head_dim=8),
    "gemma2": causal("Gemma2", **LLAMA, head_dim=8, sliding_window=8),
    "gemma3-text": causal("Gemma3Text", **LLAMA, head_dim=8, sliding_window=8),
    "gpt2": causal("GPT2", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt-bigcode": causal("GPTBigCode", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gpt-neo": causal(
        "GPTNeo",
        **IDS,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=64,
        window_size=8,
    ),
    "gpt-neox": causal("GPTNeoX", **IDS, **SMALL),
    "gptj": causal("GPTJ", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    "llama": causal("Llama", **LLAMA),
    "mistral": causal("Mistral", **LLAMA, sliding_window=8),
    "mpt": causal("Mpt", **IDS, d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
    "olmo2": causal("Olmo2", **LLAMA),
    "openai-gpt": causal("OpenAIGPT", **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "opt": causal(
        "OPT",
        **IDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
    ),
    "persimmon": causal("Persimmon", **IDS, **SMALL),
    "phi": causal("Phi", **LLAMA),
    "phi3": causal("Phi3", **LLAMA),
    "qwen3": causal("Qwen3", **LLAMA, head_dim=8),
    "smollm3": causal("SmolLM3", **LLAMA),
    "stablelm": causal("StableLm", **LLAMA),
    "starcoder2": causal("Starcoder2", **LLAMA),
    "xglm": causal(
        "XGLM", **IDS, d_model=32, ffn_dim=48, num_layers=2, attention_heads=4, max_position_embeddings=64
    ),
    # Mixtures of experts.
    "dbrx": causal(
        "Dbrx",
        **IDS,
        d_model=32,
        n_heads=4,
        n_layers=2,
        max_seq_len=64,
        attn_config={"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        ffn_config={"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    "deepseek-v2": causal(
        "DeepseekV2",
        **{**LLAMA, "num_key_value_heads": 4},
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        first_k_dense_replace=1,
        topk_method="greedy",
        head_dim=4,
    ),
    "deepseek-v3": causal(
        "DeepseekV3",
        **{**LLAMA, "num_key_value_heads": 4},
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
    ),
    "ernie4-5-moe": causal(
        "Ernie4_5_Moe",
        **LLAMA,
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=16,
        moe_num_shared_experts=1,
    ),
    "flex-olmo": causal("FlexOlmo", **LLAMA, num_experts=4, num_experts_per_tok=2),
    "glm4-moe": causal(
        "Glm4Moe",
        **LLAMA,
        head_dim=8,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
    ),
    "gpt-oss": causal(
        "GptOss", **LLAMA, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=8
    ),
    "granitemoe": causal("GraniteMoe", **LLAMA, num_local_experts=4, num_experts_per_tok=2),
    "jetmoe": causal(
        "JetMoe",
        **IDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_key_value_heads=2,
        kv_channels=8,
        intermediate_size=48,
        max_position_embeddings=64,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    "llama4-text": causal(
        "Llama4Text",
        **LLAMA,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=1,
        intermediate_size_mlp=48,
        attention_chunk_size=32,
    ),
    "minimax": causal(
        "MiniMax", **LLAMA, head_dim=8, num_local_experts=4, num_experts_per_tok=2, block_size=8
    ),
    "mixtral": causal("Mixtral", **LLAMA, num_local_experts=4),
    "olmoe": causal("Olmoe", **LLAMA, num_experts=4, num_experts_per_tok=2),
    "phimoe": causal("Phimoe", **LLAMA, num_local_experts=4),
    "qwen2-moe": causal("Qwen2Moe", **LLAMA, **EXPERTS, shared_expert_intermediate_size=16),
    "qwen3-moe": causal("Qwen3Moe", **LLAMA, **EXPERTS, head_dim=8),
    # State-space and hybrid models.
    "bamba": causal("Bamba", **LLAMA, **MAMBA2_HEADS, mamba_expand=2, attn_layer_indices=[1]),
    "falcon-h1": causal("FalconH1", **LLAMA, **MAMBA2_HEADS, mamba_d_ssm=64),
    "falcon-mamba": causal("FalconMamba", **MAMBA),
    "granitemoehybrid": causal(
        "GraniteMoeHybrid",
        **LLAMA,
        **MAMBA2_HEADS,
        mamba_expand=2,
        layer_types=["mamba", "attention"],
        num_local_experts=4,
        num_experts_per_tok=2,
        shared_intermediate_size=16,
    ),
    "jamba": causal(
        "Jamba",
        **LLAMA,
        num_experts=4,
        num_experts_per_tok=2,
        mamba_d_state=8,
        mamba_dt_rank=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        use_mamba_kernels=False,
    ),
    "lfm2": causal("Lfm2", **LLAMA, layer_types=["conv", "full_attention"]),
    "lfm2-moe": causal(
        "Lfm2Moe",
        **LLAMA,
        layer_types=["conv", "full_attention"],
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        num_dense_layers=1,
    ),
    "mamba": causal("Mamba", **MAMBA),
    "mamba2": causal("Mamba2", **MAMBA, num_heads=4, head_dim=16, n_groups=1, chunk_size=8),
    "nemotron-h": causal(
        "NemotronH",
        **LLAMA,
        head_dim=8,
        hybrid_override_pattern="M*-",
        mamba_num_heads=4,
        mamba_head_dim=16,
        ssm_state_size=8,
        n_groups=1,
        chunk_size=8,
    ),
    "qwen3-next": causal(
        "Qwen3Next",
        **LLAMA,
        **EXPERTS,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        shared_expert_intermediate_size=16,
    ),
    "recurrent-gemma": causal(
        "RecurrentGemma",
        **{**IDS, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
        num_key_value_heads=1,
        intermediate_size=96,
        lru_width=32,
        attention_window_size=32,
    ),
    "rwkv": causal(
        "Rwkv", **IDS, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, context_length=64
    ),
    "zamba2": causal(
        "Zamba2",
        **LLAMA,
        mamba_d_state=8,
        mamba_headdim=16,
        mamba_ngroups=1,
        n_mamba_heads=4,
        layers_block_type=["mamba", "hybrid"],
        num_mem_blocks=1,
        use_shared_attention_adapter=False,
    ),
    # Multimodal.
    "gemma3": causal(
        "Gemma3",
        text_config={**LLAMA, "head_dim": 8, "sliding_window": 16},
        vision_config=VISION,
        mm_tokens_per_image=1,
        image_token_index=6,
        boi_token_index=4,
        eoi_token_index=5,
    ),
    "qwen3-5": causal(
        "Qwen3_5",
        text_config={
            **LLAMA,
            "head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        vision_config={
            "hidden_size": 16,
            "depth": 1,
            "num_heads": 2,
            "intermediate_size": 24,
            "out_hidden_size": 32,
        },
        image_token_id=6,
        video_token_id=5,
        vision_start_token_id=4,
        vision_end_token_id=4,
    ),
    "bert-as-causal": causal("Bert", "not a causal language model", **BERT),
    "xlnet-as-causal": causal(
        "XLNet",
        "not a causal language model",
        vocab_size=VOCABULARY,
        d_model=32,
        n_layer=2,
        n_head=4,
        d_inner=48,
    ),
}

SEQ2SEQ: Mapping[str, Family] = {
    "t5": seq2seq("T5", **T5),
    "t5-gated": seq2seq("T5", **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),  # Flan-T5
    "mt5": seq2seq("MT5", **T5),
    "umt5": seq2seq("UMT5", **T5),
    "longt5": seq2seq("LongT5", **T5, local_radius=4),
    "switch-transformers": seq2seq(
        "SwitchTransformers", **T5, num_decoder_layers=2, num_experts=2, expert_capacity=64
    ),
    "bart": seq2seq("Bart", **BART),
    "bigbird-pegasus": seq2seq("BigBirdPegasus", **BART, attention_type="original_full"),
    "blenderbot": seq2seq("Blenderbot", **BART),
    "blenderbot-small": seq2seq("BlenderbotSmall", **BART),
    "fsmt": seq2seq(
        "FSMT",
        **{name: value for name, value in BART.items() if name != "vocab_size"},
        src_vocab_size=VOCABULARY,
        tgt_vocab_size=VOCABULARY,
        langs=["en", "de"],
    ),
    "led": seq2seq(
        "LED",
        **BART,
        max_encoder_position_embeddings=64,
        max_decoder_position_embeddings=64,
        attention_window=8,
    ),
    "m2m-100": seq2seq("M2M100", **BART),
    "marian": seq2seq("Marian", **{**BART, "decoder_start_token_id": 0}, decoder_vocab_size=VOCABULARY),
    "mbart": seq2seq("MBart", **BART),
    "mvp": seq2seq("Mvp", **BART),
    "nllb-moe": seq2seq("NllbMoe", **BART, num_experts=2, encoder_sparse_step=2, decoder_sparse_step=2),
    "pegasus": seq2seq("Pegasus", **{**BART, "decoder_start_token_id": 0}),
    "plbart": seq2seq("PLBart", **BART),
    "prophetnet": seq2seq(
        "ProphetNet",
        **IDS,
        hidden_size=32,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_encoder_attention_heads=4,
        num_decoder_attention_heads=4,
        max_position_embeddings=64,
        decoder_start_token_id=3,
    ),
    "t5-without-start": seq2seq("T5", "decoder_start_token_id", **{**T5, "decoder_start_token_id": None}),
}

FAMILIES: Mapping[str, Family] = {**ENCODERS, **CAUSAL, **SEQ2SEQ}
