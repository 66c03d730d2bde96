"""The examples of the contract, as the OpenAPI document shows them."""

from typing import Any

from orchestrator.web.wire.denials import Denial, WebCode, error_body

AT = "2026-01-15T10:30:00.000Z"
GPU = "GPU-6a1f7c52-1111-2222-3333-444455556666"

STATUS: dict[str, Any] = {
    "total_mb": 32768,
    "used_mb": 17234,
    "free_mb": 15534,
    "available_mb": 15022,
    "foreign_mb": 0,
    "headroom_mb": 512,
    "utilization_percent": 45.2,
    "now": "2026-01-15T10:31:12.000Z",
    "loaded_models": {
        "qwen3-vl-30b": {
            "model": "qwen3-vl-30b",
            "service": "llama-cpp",
            "loaded_at": AT,
            "status": "loaded",
            "ready_at": None,
            "vram_mb": 17234,
            "vram_provenance": "measured",
            "priority": 10,
            "pinned": False,
            "in_flight": 1,
            "busy": False,
            "leases": [],
            "last_used_at": "2026-01-15T10:31:10.000Z",
            "expires_at": None,
            "endpoint": "http://127.0.0.1:41873",
            "devices": [{"device": GPU, "vram_mb": 17234}],
            "serving": {"context_size": 8192, "slots": 1},
            "why_leaving": "",
            "problem": "",
            "given_up": [],
        }
    },
    "devices": [
        {
            "id": GPU,
            "name": "NVIDIA GeForce RTX 5090",
            "kind": "gpu",
            "state": "ok",
            "problem": "",
            "read_at": "2026-01-15T10:31:11.800Z",
            "temperature_c": 61.0,
            "charged_mb": 17234,
            "total_mb": 32768,
            "used_mb": 17234,
            "free_mb": 15534,
            "available_mb": 15022,
            "foreign_mb": 0,
            "headroom_mb": 512,
            "utilization_percent": 45.2,
        }
    ],
    "leases": [],
    "queue": [],
}
LOADED: dict[str, Any] = {
    "success": True,
    "model": "qwen3-vl-30b",
    "service": "llama-cpp",
    "status": "loaded",
    "loaded_at": AT,
    "endpoint": "http://127.0.0.1:41873",
    "vram_mb": 17234,
    "devices": [{"device": GPU, "vram_mb": 17234}],
    "evicted": ["whisperx"],
    "already_loaded": False,
    "waited_seconds": 14.2,
}
ACCEPTED: dict[str, Any] = {
    "success": True,
    "model": "qwen3-vl-30b",
    "status": "loading",
    "operation_id": "op-17",
    "status_url": "/operations/op-17",
    "eta_seconds": 14.0,
}
UNLOADED: dict[str, Any] = {
    "success": True,
    "status": "unloaded",
    "model": "qwen3-vl-30b",
    "service": "llama-cpp",
    "freed_mb": 17234,
    "verified": True,
    "remaining_leases": 0,
}
PLAN: dict[str, Any] = {
    "fits": True,
    "model": "ovi",
    "vram_mb": 22528,
    "vram_provenance": "estimated",
    "available_mb": 15022,
    "evict": [{"model": "qwen3-vl-30b", "vram_mb": 17234, "reason": "idle for 12 s"}],
    "placement": [{"device": GPU, "vram_mb": 22528}],
    "eta_seconds": 25.0,
    "already_loaded": False,
    "drains": False,
    "given_up": ["context 4096 instead of 8192"],
    "refusal": None,
    "suggestions": [],
}
_PARTS: dict[str, Any] = {"weights_mib": 4403.5, "context_mib": 1024.0, "compute_mib": 282.5}
ESTIMATE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "file": "/models/Llama-3.1-8B-Instruct-Q4_K_M.gguf",
    **_PARTS,
    "device_mib": 5710.0,
    "overhead_mib": 600.0,
    "host_mib": 305.8,
    "architecture": "llama",
    "method": "header",
    "devices": [{**_PARTS, "device_mib": 5710.0, "overhead_mib": 600.0}],
    "host": {"weights_mib": 281.8, "context_mib": 0.0, "compute_mib": 24.0},
    "doubts": [],
    "vram_mb": 6310,
    "host_mb": 390,
    "without_gpu_mb": 6210,
    "serving": {"context_size": 8192, "slots": 1},
}
ENTRY: dict[str, Any] = {
    "id": "qwen3-vl-30b",
    "object": "model",
    "created": 1768473000,
    "owned_by": "vram-orchestrator",
    "aliases": ["qwen"],
    "tags": [],
    "status": {"value": "loaded", "args": []},
    "state": "loaded",
    "service": "llama-cpp",
    "priority": 10,
    "pinned": False,
    "vram_mb": 17234,
    "host_mb": 0,
    "vram_provenance": "measured",
    "ttl_seconds": 600.0,
    "load_seconds": 14.2,
    "context_size": 8192,
    "profile": None,
    "devices": [],
    "hub": None,
    "auto_download": False,
    "breaker": None,
}
CATALOGUE: dict[str, Any] = {"object": "list", "data": [ENTRY]}
MODEL: dict[str, Any] = {
    **ENTRY,
    "serving": {"context_size": 8192, "slots": 1},
    "resident": STATUS["loaded_models"]["qwen3-vl-30b"],
}
ROOM: dict[str, Any] = {
    "lease_id": "lease-9",
    "vram_mb": 8192,
    "device": GPU,
    "owner": "comfyui",
    "expires_at": "2026-01-15T10:40:00.000Z",
    "evicted": ["whisperx"],
}
ROOMS: dict[str, Any] = {
    "leases": [
        {
            "lease_id": "lease-9",
            "owner": "comfyui",
            "priority": 5,
            "granted_at": AT,
            "expires_at": "2026-01-15T10:40:00.000Z",
            "vram_mb": 8192,
            "device": GPU,
        }
    ]
}
MODEL_LEASES: dict[str, Any] = {
    "leases": [
        {
            "lease_id": "lease-8",
            "owner": "workflow-3",
            "priority": 5,
            "granted_at": AT,
            "expires_at": "2026-01-15T11:30:00.000Z",
            "model": "qwen3-vl-30b",
            "kind": "owner",
        }
    ]
}
RENEWED: dict[str, Any] = {
    "lease_id": "lease-9",
    "owner": "comfyui",
    "expires_at": "2026-01-15T10:50:00.000Z",
}
OPERATION: dict[str, Any] = {
    "operation_id": "op-17",
    "kind": "load",
    "model": "qwen3-vl-30b",
    "status": "succeeded",
    "created_at": AT,
    "finished_at": "2026-01-15T10:30:14.200Z",
    "code": None,
    "detail": "",
    "eta_seconds": None,
}
EVENTS: dict[str, Any] = {
    "events": [
        {
            "id": 42,
            "at": AT,
            "kind": "evict",
            "model": "whisperx",
            "text": "whisperx leaves: qwen3-vl-30b needs 17408 MB and 12000 MB were free.",
            "why": "idle for 80 s, lowest priority",
            "evicted": ["whisperx"],
            "remedy": "",
        }
    ],
    "next_before": 42,
}
RUNNING: dict[str, Any] = {
    "running": [
        {
            "model": "qwen3-vl-30b",
            "state": "ready",
            "cmd": "",
            "proxy": "http://127.0.0.1:41873",
            "ttl": 600,
            "name": "qwen3-vl-30b",
            "description": "",
        }
    ]
}
OLLAMA: dict[str, Any] = {
    "models": [
        {
            "name": "qwen3-vl-30b",
            "model": "qwen3-vl-30b",
            "size": 18071158784,
            "digest": "",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "",
                "families": None,
                "parameter_size": "",
                "quantization_level": "",
            },
            "expires_at": "2026-01-15T10:41:10.000Z",
            "size_vram": 18071158784,
            "context_length": 8192,
        }
    ]
}
ERRORS: dict[int, tuple[str, dict[str, Any]]] = {
    status: (denial.detail, error_body(denial, "/models/load"))
    for status, denial in {
        403: Denial(code=WebCode.BAD_ORIGIN, detail="A page of another origin may not do this."),
        404: Denial(code="unknown_model", detail="There is no model called qwen4."),
        405: Denial(code=WebCode.METHOD_NOT_ALLOWED, detail="GET changes nothing here."),
        409: Denial(code="in_use", detail="qwen3-vl-30b is in use by 1 request."),
        413: Denial(code=WebCode.TOO_LARGE, detail="The body is larger than 1048576 bytes."),
        415: Denial(code=WebCode.NOT_JSON, detail="The body is not application/json."),
        421: Denial(code=WebCode.BAD_HOST, detail="This daemon does not answer to that name."),
        422: Denial(code=WebCode.INVALID, detail="vram_mb should be greater than 0."),
        502: Denial(
            code="load_failed",
            detail="qwen3-vl-30b did not come up: the model file is truncated.",
            members={"cause": "model_file", "log_tail": ["invalid magic"]},
        ),
        503: Denial(
            code="no_room",
            detail="ovi needs 22528 MB and 15022 MB can be used now.",
            remedy="Wait, or unload one of the blockers.",
            retry_after_s=10,
            members={"needed_mb": 22528, "available_mb": 15022, "foreign_mb": 0},
        ),
        507: Denial(
            code="does_not_fit",
            detail="wan2.1-14b needs 65536 MB; the largest device has 32256 MB.",
            members={"needed_mb": 65536, "available_mb": 32256},
        ),
    }.items()
}
