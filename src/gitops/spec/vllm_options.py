"""The options of `vllm serve` by kind, for the version that the default image pins: facts about its command line.

Read from the package vllm 0.11.0: the dataclasses behind `EngineArgs.add_cli_args` (vllm/engine/arg_utils.py and
vllm/config/) and `FrontendArgs` (vllm/entrypoints/openai/cli_args.py). `tests/spec/test_options.py` holds VERSION
to the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

VERSION = "0.11.0"
IMAGE = "vllm/vllm-openai"

Kind = Literal[
    "flag",
    "switch",
    "integer",
    "size",
    "number",
    "text",
    "texts",
    "integers",
    "choice",
    "json",
    "json-list",
    "text-or-json",
    "token",
    "repeated",
]
"""A `flag` has a `--no-` of its own, a `switch` has none. A `size` is an integer with a suffix such as 8k; `texts` and
`integers` are lists, all words after one option; `repeated` takes the option anew for each; a `token` may stand without
a value."""

_NAMES: Mapping[Kind, str] = {
    "flag": """
        allow-credentials async-scheduling calculate-kv-scales data-parallel-hybrid-lb disable-cascade-attn
        disable-chunked-mm-input disable-custom-all-reduce disable-fastapi-docs
        disable-frontend-multiprocessing disable-hybrid-kv-cache-manager disable-log-requests
        disable-sliding-window disable-uvicorn-access-log enable-auto-tool-choice enable-chunked-prefill
        enable-dbo enable-eplb enable-expert-parallel enable-force-include-usage enable-log-outputs
        enable-log-requests enable-lora enable-lora-bias enable-prefix-caching enable-prompt-embeds
        enable-prompt-tokens-details enable-request-id-headers enable-server-load-tracking enable-sleep-mode
        enable-ssl-refresh enable-tokenizer-info-endpoint enforce-eager eplb-log-balancedness
        exclude-tools-when-tool-choice-none fully-sharded-loras interleave-mm-strings
        kv-sharing-fast-prefill log-error-stack ray-workers-use-nsight return-tokens-as-token-ids
        skip-mm-profiling skip-tokenizer-init trust-remote-code trust-request-chat-template use-tqdm-on-load
    """,
    "switch": """
        disable-log-stats disable-mm-preprocessor-cache enable-multimodal-encoder-data-parallel headless
    """,
    "integer": """
        api-server-count data-parallel-rank data-parallel-rpc-port data-parallel-size
        data-parallel-size-local data-parallel-start-rank dbo-decode-token-threshold
        dbo-prefill-token-threshold decode-context-parallel-size eplb-step-interval eplb-window-size
        h11-max-header-count h11-max-incomplete-event-size long-prefill-token-threshold
        lora-extra-vocab-size max-cpu-loras max-log-len max-logprobs max-long-partial-prefills max-lora-rank
        max-loras max-num-partial-prefills max-num-seqs max-parallel-loading-workers
        mm-shm-cache-max-object-size-mb num-gpu-blocks-override num-lookahead-slots num-redundant-experts
        pipeline-parallel-size port seed ssl-cert-reqs tensor-parallel-size
    """,
    "size": """
        kv-cache-memory-bytes max-model-len max-num-batched-tokens
    """,
    "number": """
        cpu-offload-gb gpu-memory-utilization mm-processor-cache-gb rope-theta swap-space video-pruning-rate
    """,
    "text": """
        allowed-local-media-path chat-template code-revision config config-format data-parallel-address
        data-parallel-backend distributed-executor-backend download-dir generation-config
        guided-decoding-backend guided-decoding-disable-additional-properties
        guided-decoding-disable-any-whitespace guided-decoding-disable-fallback hf-config-path host
        io-processor-plugin load-format log-config-file logits-processor-pattern model model-impl
        otlp-traces-endpoint override-attention-dtype reasoning-parser response-role revision root-path
        safetensors-load-strategy scheduler-cls show-hidden-metrics-for-version ssl-ca-certs ssl-certfile
        ssl-keyfile tokenizer tokenizer-revision tool-call-parser tool-parser-plugin tool-server uds
        worker-cls worker-extension-cls
    """,
    "token": """
        hf-token
    """,
    "texts": """
        allowed-media-domains api-key collect-detailed-traces ignore-patterns logits-processors lora-modules
        served-model-name
    """,
    "repeated": """
        middleware
    """,
    "integers": """
        cuda-graph-sizes
    """,
    "choice": """
        block-size chat-template-content-format convert dtype expert-placement-strategy kv-cache-dtype
        logprobs-mode lora-dtype mamba-cache-dtype mamba-ssm-cache-dtype mm-encoder-tp-mode
        mm-processor-cache-type prefix-caching-hash-algo quantization runner scheduling-policy task
        tokenizer-mode uvicorn-log-level
    """,
    "json": """
        additional-config compilation-config default-mm-loras eplb-config kv-events-config
        kv-transfer-config limit-mm-per-prompt media-io-kwargs mm-processor-kwargs
        override-generation-config override-pooler-config pooler-config rope-scaling speculative-config
        structured-outputs-config
    """,
    "json-list": """
        allowed-headers allowed-methods allowed-origins
    """,
    "text-or-json": """
        hf-overrides model-loader-extra-config pt-load-map-location
    """,
}
OPTIONS: Mapping[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "block-size": ("1", "8", "16", "32", "64", "128"),
    "chat-template-content-format": ("auto", "openai", "string"),
    "convert": ("auto", "classify", "embed", "none", "reward"),
    "dtype": ("auto", "bfloat16", "float", "float16", "float32", "half"),
    "expert-placement-strategy": ("linear", "round_robin"),
    "kv-cache-dtype": ("auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"),
    "logprobs-mode": ("processed_logits", "processed_logprobs", "raw_logits", "raw_logprobs"),
    "lora-dtype": ("auto", "bfloat16", "float16"),
    "mamba-cache-dtype": ("auto", "float32"),
    "mamba-ssm-cache-dtype": ("auto", "float32"),
    "mm-encoder-tp-mode": ("data", "weights"),
    "mm-processor-cache-type": ("lru", "shm"),
    "prefix-caching-hash-algo": ("sha256", "sha256_cbor"),
    "quantization": (
        "auto-round",
        "awq",
        "awq_marlin",
        "bitblas",
        "bitsandbytes",
        "compressed-tensors",
        "deepspeedfp",
        "experts_int8",
        "fbgemm_fp8",
        "fp8",
        "gguf",
        "gptq",
        "gptq_bitblas",
        "gptq_marlin",
        "gptq_marlin_24",
        "hqq",
        "inc",
        "ipex",
        "modelopt",
        "modelopt_fp4",
        "moe_wna16",
        "mxfp4",
        "petit_nvfp4",
        "ptpc_fp8",
        "quark",
        "rtn",
        "torchao",
        "tpu_int8",
    ),
    "runner": ("auto", "draft", "generate", "pooling"),
    "scheduling-policy": ("fcfs", "priority"),
    "task": ("auto", "classify", "draft", "embed", "embedding", "generate", "reward", "score", "transcription"),
    "tokenizer-mode": ("auto", "custom", "mistral", "slow"),
    "uvicorn-log-level": ("critical", "debug", "error", "info", "trace", "warning"),
}
