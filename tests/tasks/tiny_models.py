"""Tiny models and a tokenizer with a vocabulary of 20 words."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
WORDS = [*SPECIAL, "good", "fine", "great", "bad", "poor", "awful", "negative", "positive", *"abcdefgh"]

WIDTH = 16


def word_tokenizer(end: str = "[EOS]") -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of WORDS; every other word is [UNK]."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token=end,
        clean_up_tokenization_spaces=False,
    )


def bert(seed: int = 0) -> BertModel:
    """An encoder of two layers in which every token affects the output."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def llama(seed: int = 0) -> PreTrainedModel:
    """A causal LM of two layers with rotary positions."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def gpt2(seed: int = 0) -> PreTrainedModel:
    """A causal LM of two layers with learned positions."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(WORDS),
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=64,
        initializer_range=0.5,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()
