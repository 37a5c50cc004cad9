"""The tiny models that hf_models.py makes with transformers: for each family some configs of odd sizes and unlike settings."""
import transformers as tf

COMMON = dict(vocab_size=150, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3,
              max_position_embeddings=96, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def sized(**changes):
    return {**COMMON, **changes}


GPT2 = dict(vocab_size=133, n_embd=40, n_layer=3, n_head=5, n_positions=50, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1,
            eos_token_id=2, pad_token_id=0)
MAMBA2 = dict(vocab_size=150, hidden_size=48, num_hidden_layers=3, num_heads=6, head_dim=16, expand=2, state_size=12, n_groups=1, conv_kernel=4,
              chunk_size=8, tie_word_embeddings=False, rms_norm=True, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MLA = sized(num_key_value_heads=6, kv_lora_rank=20, q_lora_rank=18, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=14, moe_intermediate_size=36,
            n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, first_k_dense_replace=1, n_group=4, topk_group=2)
YARN = dict(rope_type="yarn", factor=3.0, original_max_position_embeddings=32, rope_theta=2e4)
LONGROPE = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 2.5, 6.0, 11.5])
HYBRID = dict(vocab_size=150, hidden_size=48, intermediate_size=80, num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=96,
              pad_token_id=0, bos_token_id=1, eos_token_id=2)
NEMOTRON_H = dict(HYBRID, head_dim=10, mamba_num_heads=6, mamba_head_dim=16, n_groups=2, ssm_state_size=12, chunk_size=8, conv_kernel=4, hidden_dropout=0.0,
                  attention_dropout=0.0)
EXPERTS = dict(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=28, moe_shared_expert_intermediate_size=36, n_shared_experts=1)
BAMBA = dict(HYBRID, num_hidden_layers=3, mamba_n_heads=6, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=12, mamba_d_conv=4, mamba_expand=2,
             mamba_chunk_size=8, attn_layer_indices=[1])
JAMBA = dict(HYBRID, num_hidden_layers=4, mamba_d_state=7, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=5, use_mamba_kernels=False, num_experts=4,
             num_experts_per_tok=2, attn_layer_period=3, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1)
GPT_OSS = sized(head_dim=8, num_local_experts=5, num_experts_per_tok=2, sliding_window=6, num_hidden_layers=4,
                rope_parameters=dict(YARN, beta_fast=32.0, beta_slow=1.0, truncate=False))
T5 = dict(vocab_size=140, d_model=40, d_kv=12, d_ff=72, num_layers=3, num_decoder_layers=2, num_heads=4, relative_attention_num_buckets=12,
          relative_attention_max_distance=17, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
BERT = dict(vocab_size=150, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=40, pad_token_id=0,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

CASES = {
    "gpt2": [(tf.GPT2Config, GPT2), (tf.GPT2Config, dict(GPT2, n_inner=72, activation_function="gelu", layer_norm_epsilon=1e-4)),
             (tf.GPT2Config, dict(GPT2, tie_word_embeddings=False, activation_function="relu"))],
    "llama": [(tf.LlamaConfig, sized()), (tf.LlamaConfig, sized(head_dim=10, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-4)),
              (tf.LlamaConfig, sized(tie_word_embeddings=True, rope_parameters=dict(
                  rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=3.0, original_max_position_embeddings=32, rope_theta=5e5))),
              (tf.LlamaConfig, sized(rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=1e4))), (tf.LlamaConfig, sized(rope_parameters=YARN))],
    "mistral": [(tf.MistralConfig, sized(sliding_window=5)), (tf.MistralConfig, sized(sliding_window=None, head_dim=12))],
    "qwen2": [(tf.Qwen2Config, sized(rope_parameters=dict(rope_type="default", rope_theta=1e5))),
              (tf.Qwen2Config, sized(tie_word_embeddings=True, num_key_value_heads=6))],
    "qwen3": [(tf.Qwen3Config, sized(head_dim=14)), (tf.Qwen3Config, sized(head_dim=8, tie_word_embeddings=True, attention_bias=True))],
    "gemma": [(tf.GemmaConfig, sized(head_dim=14)), (tf.GemmaConfig, sized(head_dim=8, num_key_value_heads=1, hidden_act="gelu_pytorch_tanh"))],
    "gemma2": [(tf.Gemma2Config, sized(head_dim=14, sliding_window=4, query_pre_attn_scalar=11, attn_logit_softcapping=3.0,
                                       final_logit_softcapping=4.0)),
               (tf.Gemma2Config, sized(head_dim=8, sliding_window=6, query_pre_attn_scalar=8, attn_logit_softcapping=None,
                                       final_logit_softcapping=None))],
    "gemma3": [(tf.Gemma3TextConfig, sized(head_dim=14, sliding_window=4, query_pre_attn_scalar=11, num_hidden_layers=7)),
               (tf.Gemma3TextConfig, sized(head_dim=8, sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                           rope_parameters=dict(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1e6),
                                                                sliding_attention=dict(rope_type="default", rope_theta=1e4))))],
    "nemotron": [(tf.NemotronConfig, sized(partial_rotary_factor=0.5)),
                 (tf.NemotronConfig, sized(partial_rotary_factor=0.25, head_dim=16, num_attention_heads=3, num_key_value_heads=1))],
    # Of the last three, one has sequences within the first context, one beyond it, and one crosses it while it generates.
    "phi3": [(tf.Phi3Config, sized(sliding_window=None)), (tf.Phi3Config, sized(sliding_window=7, tie_word_embeddings=True)),
             (tf.Phi3Config, sized(sliding_window=None, original_max_position_embeddings=32, rope_parameters=dict(LONGROPE))),
             (tf.Phi3Config, sized(sliding_window=None, original_max_position_embeddings=4, rope_parameters=dict(LONGROPE))),
             (tf.Phi3Config, sized(sliding_window=None, original_max_position_embeddings=11, rope_parameters=dict(LONGROPE)))],
    "starcoder2": [(tf.Starcoder2Config, sized(sliding_window=6)),
                   (tf.Starcoder2Config, sized(sliding_window=None, use_bias=False, tie_word_embeddings=False))],
    "mixtral": [(tf.MixtralConfig, sized(num_local_experts=5, num_experts_per_tok=2, sliding_window=None)),
                (tf.MixtralConfig, sized(num_local_experts=3, num_experts_per_tok=1, sliding_window=6))],
    "qwen2_moe": [(tf.Qwen2MoeConfig, sized(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=28, shared_expert_intermediate_size=52)),
                  (tf.Qwen2MoeConfig, sized(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=36, shared_expert_intermediate_size=20,
                                            norm_topk_prob=True))],
    "qwen3_moe": [(tf.Qwen3MoeConfig, sized(head_dim=14, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=28, norm_topk_prob=True)),
                  (tf.Qwen3MoeConfig, sized(head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=36, norm_topk_prob=False))],
    "deepseek_v2": [(tf.DeepseekV2Config, dict(MLA, topk_method="group_limited_greedy", routed_scaling_factor=2.0)),
                    (tf.DeepseekV2Config, dict(MLA, topk_method="greedy", q_lora_rank=None, n_group=1, topk_group=1, routed_scaling_factor=1.0,
                                               n_shared_experts=1))],
    "deepseek_v3": [(tf.DeepseekV3Config, dict(MLA, routed_scaling_factor=2.5, norm_topk_prob=True)),
                    (tf.DeepseekV3Config, dict(MLA, q_lora_rank=None, first_k_dense_replace=2, norm_topk_prob=False, n_group=2, topk_group=1,
                                               rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0)))],
    "gpt_oss": [(tf.GptOssConfig, GPT_OSS), (tf.GptOssConfig, dict(GPT_OSS, head_dim=10, num_experts_per_tok=3, num_hidden_layers=3, sliding_window=4))],
    "mamba2": [(tf.Mamba2Config, MAMBA2), (tf.Mamba2Config, dict(MAMBA2, head_dim=24, num_heads=4, state_size=20, n_groups=2, chunk_size=32))],
    "nemotron_h": [(tf.NemotronHConfig, dict(NEMOTRON_H, layers_block_type=["linear_attention", "mlp", "full_attention", "mlp"])),
                   (tf.NemotronHConfig, dict(NEMOTRON_H, **EXPERTS, layers_block_type=["linear_attention", "moe", "full_attention", "moe"],
                                             routed_scaling_factor=2.5))],
    "bamba": [(tf.BambaConfig, BAMBA), (tf.BambaConfig, dict(BAMBA, mamba_n_groups=2, attn_layer_indices=[0, 2], num_hidden_layers=4))],
    "jamba": [(tf.JambaConfig, JAMBA), (tf.JambaConfig, dict(JAMBA, num_experts_per_tok=1, attn_layer_period=2, attn_layer_offset=0, mamba_d_conv=3))],
    "glm": [(tf.GlmConfig, sized(head_dim=8, attention_bias=True)),
            (tf.GlmConfig, sized(head_dim=16, num_attention_heads=3, num_key_value_heads=1, attention_bias=False, tie_word_embeddings=True))],
    "chatglm": [(tf.GlmConfig, sized(head_dim=8, attention_bias=True)),
                (tf.GlmConfig, sized(head_dim=16, num_attention_heads=3, num_key_value_heads=1, attention_bias=True))],
    "baichuan2": [(tf.LlamaConfig, sized(num_key_value_heads=6, rms_norm_eps=1e-6)),
                  (tf.LlamaConfig, sized(num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=2))],
    # Without rotation and with linear biases (hf_renamed.py).
    "baichuan2_13b": [(tf.LlamaConfig, sized(num_key_value_heads=6, rms_norm_eps=1e-6)),
                      (tf.LlamaConfig, sized(num_attention_heads=8, num_key_value_heads=8, rms_norm_eps=1e-6))],
    "t5 1.0": [(tf.T5Config, dict(T5, feed_forward_proj="relu")),
               (tf.T5Config, dict(T5, feed_forward_proj="relu", num_heads=3, d_kv=16, num_layers=1, num_decoder_layers=3))],
    "t5 1.1": [(tf.T5Config, dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
               (tf.T5Config, dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, d_ff=56, relative_attention_num_buckets=8))],
    "bert": [(tf.BertConfig, BERT), (tf.BertConfig, dict(BERT, num_hidden_layers=2, num_attention_heads=3, type_vocab_size=3, layer_norm_eps=1e-6))],
    "bert mlm": [(tf.BertConfig, BERT)],
}


def model_class(family):
    if family.startswith("t5"):
        return tf.T5ForConditionalGeneration
    if family.startswith("bert"):
        return tf.BertForMaskedLM if family == "bert mlm" else tf.BertForPreTraining
    return tf.AutoModelForCausalLM


def what_differs(kwargs):
    """The settings of a case that tell it from its family's plain one."""
    plain = [COMMON, GPT2, MAMBA2, MLA, NEMOTRON_H, BAMBA, JAMBA, GPT_OSS, T5, BERT]
    nearest = max(plain, key=lambda p: sum(kwargs.get(k) == v for k, v in p.items()))
    return {k: v for k, v in kwargs.items() if k not in nearest or nearest[k] != v}
