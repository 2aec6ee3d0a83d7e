"""The options of `vllm serve` by kind, for the version that the default image pins: facts about its command line.

Read from the package vllm 0.31.0: the dataclasses behind `EngineArgs.add_cli_args` (vllm/engine/arg_utils.py and
vllm/config/) and `FrontendArgs` (vllm/entrypoints/launchers/cli_args.py). `tests/spec/test_options.py` holds VERSION
to the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

VERSION = "0.31.0"
IMAGE = "vllm/vllm-openai"
DIGEST = "sha256:c1c9f6fd5c109ba7f0546a59f5b2f15fb87f64c77782e90a27b648b42a8e67c3"
"""Of the index of IMAGE at that version, for amd64 and arm64."""

Kind = Literal[
    "flag",
    "switch",
    "integer",
    "size",
    "length",
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
"""A `flag` has a `--no-` of its own, a `switch` has none. A `size` is an integer that may have a suffix such as 8k, a
`length` is a size, -1 or auto. `texts` and `integers` are lists, all words after one option; `repeated` takes the
option anew for each; a `token` may stand without a value."""

_NAMES: Mapping[Kind, str] = {
    "flag": """
        allow-credentials allow-deprecated-quantization async-scheduling cohere-is-reasoning-model cudagraph-metrics
        data-parallel-external-lb data-parallel-hybrid-lb dcp-q-replicate disable-cascade-attn
        disable-chunked-mm-input disable-custom-all-reduce disable-fastapi-docs disable-hybrid-kv-cache-manager
        disable-nccl-for-dp-synchronization disable-sliding-window disable-uvicorn-access-log
        enable-auto-tool-choice enable-batch-sharded-sampling enable-chunked-prefill enable-cumem-allocator
        enable-dbo enable-elastic-ep enable-ep-weight-filter enable-eplb enable-expert-parallel
        enable-fault-tolerance enable-flash-late-interaction enable-flashinfer-autotune enable-force-include-usage
        enable-layerwise-nvtx-tracing enable-log-deltas enable-log-outputs enable-log-requests
        enable-logging-iteration-details enable-lora enable-mamba-cache-stochastic-rounding
        enable-mamba-shared-prefix-checkpoint enable-mfu-metrics enable-mixed-moe-lora-format enable-mm-embeds
        enable-moe-shared-loras enable-nccl-comm-suspend enable-offline-docs enable-per-request-metrics
        enable-prefix-caching enable-prompt-embeds enable-prompt-tokens-details enable-request-id-headers
        enable-return-routed-experts enable-scale-out enable-server-load-tracking enable-sleep-mode
        enable-ssl-refresh enable-tokenizer-info-endpoint enable-tower-connector-lora enable-trace-replay
        enforce-eager exclude-tools-when-tool-choice-none fail-on-environ-validation fully-sharded-loras
        interleave-mm-strings jit-monitor-verbose kv-cache-metrics kv-sharing-fast-prefill language-model-only
        log-error-stack long-prefill-token-threshold-adaptive mm-device-do-normalize mm-encoder-only numa-bind
        ray-workers-use-nsight return-sampling-mask return-tokens-as-token-ids scheduler-reserve-full-isl
        skip-mm-profiling skip-tokenizer-init specialize-active-lora swa-bounded-replay tokens-only
        trust-remote-code trust-request-chat-template trust-request-mm-kwargs use-fp64-gumbel use-replayssm
        use-tqdm-on-load
    """,
    "switch": """
        aggregate-engine-logging data-parallel-multi-port-external-lb disable-log-stats grpc headless
    """,
    "integer": """
        api-server-count block-size cp-kv-cache-interleave-size cpu-distributed-timeout-seconds data-parallel-rank
        data-parallel-rpc-port data-parallel-size data-parallel-size-local data-parallel-start-rank
        data-parallel-supervisor-port dbo-decode-token-threshold dbo-prefill-token-threshold
        dcp-kv-cache-interleave-size decode-context-parallel-size distributed-timeout-seconds
        dp-supervisor-probe-failure-threshold dp-sync-interval elastic-ep-max-dp-size h11-max-header-count
        h11-max-incomplete-event-size long-prefill-token-threshold mamba-block-size mamba-cache-philox-rounds
        master-port max-cpu-loras max-cudagraph-capture-size max-log-len max-logprobs max-lora-cls-labels max-loras
        max-num-active-seqs max-num-queued-reqs max-num-seqs max-parallel-loading-workers
        mm-shm-cache-max-object-size-mb nnodes node-rank num-gpu-blocks-override offload-group-size
        offload-num-in-group offload-prefetch-step pipeline-parallel-size port prefill-context-parallel-size
        prefill-schedule-interval prefix-cache-retention-interval prefix-match-unit renderer-num-workers
        replayssm-buffer-len safetensors-prefetch-num-threads seed shutdown-timeout spec-tokens
        sse-keep-alive-interval ssl-cert-reqs stream-interval tensor-parallel-size ubatch-size
    """,
    "size": """
        kv-cache-memory-bytes max-num-batched-tokens max-num-queued-tokens max-num-scheduled-tokens
        safetensors-prefetch-block-size
    """,
    "length": """
        max-model-len
    """,
    "number": """
        cpu-offload-gb device-memory-utilization dp-supervisor-probe-interval-s dp-supervisor-probe-timeout-s
        gpu-memory-utilization kv-cache-metrics-sample kv-offloading-size mm-encoder-fp8-scale-save-margin
        mm-ipc-gpu-memory-gb mm-processor-cache-gb video-pruning-rate watermark
    """,
    "text": """
        allowed-local-media-path attention-backend chat-template code-revision cohere-format config config-format
        data-parallel-address data-parallel-backend device-ids disable-access-log-for-endpoints
        distributed-executor-backend download-dir fingerprint-value generation-config hf-config-path host
        io-processor-plugin load-format log-config-file mamba-backend master-addr mm-encoder-attn-backend
        mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path model model-impl optimization-level
        otlp-traces-endpoint quantization reasoning-parser reasoning-parser-plugin response-role revision root-path
        scheduler-cls show-hidden-metrics-for-version spec-model ssl-ca-certs ssl-certfile ssl-ciphers ssl-keyfile
        tokenizer tokenizer-mode tokenizer-revision tool-call-parser tool-parser-plugin tool-server uds worker-cls
        worker-extension-cls
    """,
    "token": """
        hf-token
    """,
    "texts": """
        allowed-media-domains api-key collect-detailed-traces cpu-offload-params ignore-patterns
        kv-cache-dtype-skip-layers logits-processors lora-modules lora-target-modules numa-bind-cpus offload-params
        served-model-name sleep-preserve-parameter-names
    """,
    "repeated": """
        middleware
    """,
    "integers": """
        cudagraph-capture-sizes numa-bind-nodes
    """,
    "choice": """
        all2all-backend anthropic-disabled-thinking-effort chat-template-content-format convert dcp-comm-backend
        dtype expert-placement-strategy fingerprint-mode gdn-prefill-backend jit-monitor-mode kda-decode-backend
        kda-prefill-backend kv-cache-dtype kv-offloading-backend linear-backend log-level logprobs-mode lora-dtype
        mamba-cache-dtype mamba-cache-mode mamba-ssm-cache-dtype mamba-ssu-algorithm max-lora-rank
        mm-encoder-attn-dtype mm-encoder-tp-mode mm-hasher-algorithm mm-processor-cache-type mm-processor-device
        mm-tensor-ipc moe-backend offload-backend per-request-spec-decode-metrics performance-mode
        prefix-caching-hash-algo runner safetensors-load-strategy scheduling-policy sparse-indexer-topk-backend
        spec-method tool-strict-level uvicorn-log-level video-pruning-method
    """,
    "json": """
        attention-config aux-output-config compilation-config default-chat-template-kwargs default-mm-loras
        diffusion-config ec-manager-config ec-transfer-config engram-config eplb-config fault-tolerance-config
        ir-op-priority kernel-config kv-events-config kv-transfer-config limit-mm-per-prompt logging-config
        media-io-kwargs mm-processor-kwargs model-class-overrides override-generation-config pooler-config
        profiler-config quantization-config reasoning-config speculative-config structured-outputs-config
        watermark-config weight-transfer-config
    """,
    "json-list": """
        allowed-headers allowed-methods allowed-origins
    """,
    "text-or-json": """
        additional-config hf-overrides model-loader-extra-config pt-load-map-location
    """,
}
OPTIONS: Mapping[str, Kind] = {name: kind for kind, names in _NAMES.items() for name in names.split()}

FORMER: Mapping[str, Kind] = {"cuda-graph-sizes": "integers"}
"""Options that are gone and took lists as words: of older servers, which a spec may name and records run."""

_VALUES = {
    "all2all-backend": """
        allgather_reducescatter deepep_high_throughput deepep_low_latency deepep_v2 flashinfer_all2allv
        flashinfer_nvlink_one_sided flashinfer_nvlink_two_sided moonep mori_high_throughput mori_low_latency naive
        nixl_ep pplx
    """,
    "anthropic-disabled-thinking-effort": "auto high low max medium none xhigh",
    "chat-template-content-format": "auto openai string",
    "convert": "auto classify embed none",
    "dcp-comm-backend": "a2a ag_rs",
    "dtype": "auto bfloat16 float float16 float32 half",
    "expert-placement-strategy": "linear round_robin",
    "fingerprint-mode": "custom full hash none",
    "gdn-prefill-backend": "cutedsl flashinfer triton",
    "jit-monitor-mode": "error warn",
    "kda-decode-backend": "auto flashinfer native triton",
    "kda-prefill-backend": "auto flashinfer flashkda fused triton",
    "kv-cache-dtype": """
        auto bfloat16 float16 fp8 fp8_ds_mla fp8_e4m3 fp8_e5m2 fp8_inc fp8_per_token_head int4_per_token_head
        int8_per_token_head nvfp4 nvfp4_4over6 nvfp4_ds_mla turboquant_3bit_nc turboquant_4bit_nc turboquant_k3v4_nc
        turboquant_k8v4
    """,
    "kv-offloading-backend": "lmcache native",
    "linear-backend": """
        aiter auto b12x conch cutlass deep_gemm emulation exllama fbgemm flashinfer_b12x flashinfer_cudnn
        flashinfer_cutedsl flashinfer_cutlass flashinfer_trtllm humming machete marlin torch triton xpu xpu_woq
    """,
    "log-level": "CRITICAL DEBUG ERROR INFO NOTSET WARNING",
    "logprobs-mode": "processed_logits processed_logprobs raw_logits raw_logprobs",
    "lora-dtype": "auto bfloat16 float16",
    "mamba-cache-dtype": "auto bfloat16 float16 float32",
    "mamba-cache-mode": "align all none",
    "mamba-ssm-cache-dtype": "auto bfloat16 float16 float32",
    "mamba-ssu-algorithm": "auto horizontal simple vertical",
    "max-lora-rank": "1 8 16 32 64 128 256 320 512",
    "mm-encoder-attn-dtype": "fp8",
    "mm-encoder-tp-mode": "data weights",
    "mm-hasher-algorithm": "blake3 sha256 sha512",
    "mm-processor-cache-type": "lru shm",
    "mm-processor-device": "auto cpu cuda",
    "mm-tensor-ipc": "direct_rpc torch_shm",
    "moe-backend": """
        aiter aiter_triton_mxfp4_bf16 auto b12x batched_triton cutlass deep_gemm deep_gemm_mega_moe emulation
        flashinfer_b12x flashinfer_cutedsl flashinfer_cutlass flashinfer_moe_ep_mega_cutedsl
        flashinfer_moe_ep_mega_deep_gemm flashinfer_trtllm flydsl hpc humming marlin rdna3 triton triton_unfused
    """,
    "offload-backend": "auto prefetch uva",
    "per-request-spec-decode-metrics": "detailed none summary",
    "performance-mode": "balanced interactivity throughput",
    "prefix-caching-hash-algo": "sha256 sha256_cbor xxhash xxhash_cbor",
    "runner": "auto draft generate pooling",
    "safetensors-load-strategy": "eager lazy prefetch torchao",
    "scheduling-policy": "fcfs priority",
    "sparse-indexer-topk-backend": "auto cooperative deep_select flashinfer per_row persistent torch",
    "spec-method": """
        bailing_hybrid_mtp bailing_hybrid_v3_mtp custom_class deepseek_mtp dflash dots3_note_mtp draft_model dspark
        eagle eagle3 ernie_mtp exaone4_5_mtp exaone_moe_mtp extract_hidden_states gemma4_mtp glm4_moe_lite_mtp
        glm4_moe_mtp glm5_next_mtp glm_ocr_mtp hy_v3_mtp hy_v4_mtp inkling_mtp kimi_k3_mtp longcat_flash_mtp medusa
        mimo_mtp mimo_v2_mtp minimax_m3_mtp mlp_speculator mtp nemotron_h_mtp ngram ngram_gpu pangu_ultra_moe_mtp
        qwen3_5_mtp qwen3_next_mtp qwen4_exp_mtp step3p5_mtp suffix
    """,
    "tool-strict-level": "auto function parameter",
    "uvicorn-log-level": "critical debug error info trace warning",
    "video-pruning-method": "evs vidcom2",
}
CHOICES: Mapping[str, tuple[str, ...]] = {name: tuple(values.split()) for name, values in _VALUES.items()}
