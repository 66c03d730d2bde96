-- What a container of the orchestrator may be: one shape per field, and no field without one.
--
-- The orchestrator's side of this agreement is orchestrator/runtimes/docker/create.py; a field
-- that is added there has to be added here, or the create is refused.

local key = require("docker_guard.key")
local shapes = require("docker_guard.shapes")

local M = {}

local PORT = "8080/tcp" -- inside the container
local MiB = 1024 * 1024
local GiB = 1024 * MiB
local MEMORY_MIN = 64 * MiB
local MEMORY_MAX = 4096 * GiB
-- Of /tmp and of /dev/shm, which lie in the host's RAM; 0 would be half of it.
local RAM_DISK_MIN = MiB
local RAM_DISK_MAX = 16 * GiB

-- The engine's GPU hook runs on the host with the container's environment: LD_PRELOAD there was
-- a way out of the container, and NVIDIA_VISIBLE_DEVICES hands out GPUs that nobody requested.
-- So names are allowed by what they begin with, and nothing else is.
local ENV_PREFIXES = {
    "CUDA_", "GGML_", "HF_", "LLAMA_", "MKL_", "NCCL_", "OLLAMA_", "OMP_", "ORCHESTRATOR_",
    "PYTORCH_", "TORCH_", "TOKENIZERS_", "TRANSFORMERS_", "TRITON_", "VLLM_", "XLLAMACPP_",
}
local ENV_NAMES = {
    HOME = true, LANG = true, LC_ALL = true, PYTHONUNBUFFERED = true, TZ = true,
    XDG_CACHE_HOME = true, HOST = true, PORT = true,
}

local function env_allowed(entry)
    local name = string.match(entry, "^([A-Z][A-Z0-9_]*)=[^\n]*$")
    if name == nil then
        return false
    end
    if ENV_NAMES[name] then
        return true
    end
    for _, prefix in ipairs(ENV_PREFIXES) do
        if string.sub(name, 1, #prefix) == prefix then
            return true
        end
    end
    return false
end

local function user_allowed(user)
    -- By number, because a name is looked up in the image; neither user nor group 0.
    return string.find(user, "^[1-9]%d*$") or string.find(user, "^[1-9]%d*:[1-9]%d*$")
end

local function image_shape(images)
    return shapes.text(function(image)
        if next(images) then
            return images[image]
        end
        return string.find(image, "^[a-z0-9][A-Za-z0-9._:/@-]*$") and not string.find(image, "..", 1, true)
    end)
end

local function tmpfs_allowed(options)
    local kept, digits = string.match(options, "^(rw,n?o?exec,nosuid,nodev),size=([1-9]%d*)$")
    local size = tonumber(digits)
    return (kept == "rw,exec,nosuid,nodev" or kept == "rw,noexec,nosuid,nodev")
        and size >= RAM_DISK_MIN and size <= RAM_DISK_MAX
end

-- Each allowed directory as one shape: source and target belong together.
local function mount_shape(models)
    local records = {}
    for _, dir in ipairs(models) do
        local volume = string.sub(dir.source, 1, 1) ~= "/"
        local members = {
            Type = shapes.one_of(volume and "volume" or "bind"),
            Source = shapes.one_of(dir.source),
            Target = shapes.one_of(dir.path),
            ReadOnly = shapes.yes(),
        }
        if not volume then
            -- What is mounted inside the directory would come along, and not read-only.
            members.BindOptions = shapes.record({ NonRecursive = shapes.yes() })
        end
        records[#records + 1] = shapes.record(members)
    end
    -- Empty at first, the container's own, and gone with it.
    records[#records + 1] = shapes.record({
        Type = shapes.one_of("volume"),
        Target = shapes.one_of(key.FOLDER),
        VolumeOptions = shapes.record({ NoCopy = shapes.yes() }),
    })
    return function(value, place)
        local why
        for _, record in ipairs(records) do
            local part
            part, why = record(value, place)
            if part ~= nil then
                return part
            end
        end
        return nil, why or (place .. ": no directory may be mounted")
    end
end

local function gpu_shape()
    local by_hook = shapes.record({
        DeviceIDs = shapes.list(shapes.text("[GM][PI][UG]%-[A-Za-z0-9/-]+"), 1, 16),
        Capabilities = shapes.list(shapes.list(shapes.one_of("gpu"), 1, 1), 1, 1),
    })
    local by_cdi = shapes.record({
        Driver = shapes.one_of("cdi"),
        DeviceIDs = shapes.list(shapes.text("nvidia%.com/gpu=[GM][PI][UG]%-[A-Za-z0-9/-]+"), 1, 16),
    })
    return function(value, place)
        if type(value) == "table" and value.Driver ~= nil then
            return by_cdi(value, place)
        end
        return by_hook(value, place)
    end
end

local function label_shape(identity)
    local any = shapes.any_text()
    return shapes.record({
        ["vram-orchestrator.identity"] = shapes.one_of(identity),
        ["vram-orchestrator.instance"] = any,
        ["vram-orchestrator.model"] = any,
    }, {
        ["vram-orchestrator.service"] = any,
        ["vram-orchestrator.config"] = any,
        ["vram-orchestrator.version"] = any,
    })
end

-- The network in which containers reach nothing, of an orchestrator that is in none itself.
function M.closed_network(identity)
    return "vram-closed-" .. identity
end

local function network_shape(identity)
    return shapes.record({
        Name = shapes.one_of(M.closed_network(identity)),
        Driver = shapes.one_of("bridge"),
        Internal = shapes.yes(),
        CheckDuplicate = shapes.yes(),
        Options = shapes.record({ ["com.docker.network.bridge.enable_icc"] = shapes.one_of("false") }),
        Labels = shapes.record({ ["vram-orchestrator.identity"] = shapes.one_of(identity) }),
    })
end

-- `networks`: those that the container may be in; `published`: it has a port on loopback.
local function host_shape(settings, networks, published)
    local required = {
        NetworkMode = shapes.one_of(unpack(networks)),
        Mounts = shapes.list(mount_shape(settings.models), 0, 8),
        Init = shapes.yes(),
        ReadonlyRootfs = shapes.yes(),
        Tmpfs = shapes.record({ ["/tmp"] = shapes.text(tmpfs_allowed) }),
        CapDrop = shapes.list(shapes.one_of("ALL"), 1, 1),
        SecurityOpt = shapes.list(shapes.one_of("no-new-privileges"), 1, 1),
        PidsLimit = shapes.integer(1, 32768),
        ShmSize = shapes.integer(RAM_DISK_MIN, RAM_DISK_MAX),
        LogConfig = shapes.record({
            Type = shapes.one_of("json-file"),
            Config = shapes.record({
                ["max-size"] = shapes.text("[1-9]%d?m"),
                ["max-file"] = shapes.text("[1-9]"),
            }),
        }),
    }
    local optional = {
        DeviceRequests = shapes.list(gpu_shape(), 1, 1),
        Memory = shapes.integer(MEMORY_MIN, MEMORY_MAX),
        MemorySwap = shapes.integer(MEMORY_MIN, MEMORY_MAX),
    }
    if published or settings.direct then
        -- No port number: the engine takes a free one, and nobody takes a port of the host's.
        local port = shapes.record({
            HostIp = settings.direct and shapes.one_of("127.0.0.1", "0.0.0.0") or shapes.one_of("127.0.0.1"),
            HostPort = shapes.one_of(""),
        })
        local bindings = published and required or optional
        bindings.PortBindings = shapes.record({ [PORT] = shapes.list(port, 1, 1) })
    end
    local host = shapes.record(required, optional)
    return function(value, place)
        -- Equal limits are no swap; one without the other is swap without an end.
        if type(value) == "table" and value.Memory ~= value.MemorySwap then
            return nil, place .. ": Memory and MemorySwap must be the same"
        end
        return host(value, place)
    end
end

-- Where a container is decides whether it has a port of the host's.
local function host_shapes(settings)
    if #settings.networks > 0 then
        return host_shape(settings, settings.networks, false)
    end
    local alone = M.closed_network(settings.identity)
    local closed = host_shape({ models = settings.models }, { alone }, false)
    local on_loopback = host_shape(settings, { "bridge" }, true)
    return function(value, place)
        if type(value) == "table" and value.NetworkMode == alone then
            return closed(value, place)
        end
        return on_loopback(value, place)
    end
end

-- The shape of the body that makes the network; nil where containers join others.
function M.network_shape(settings)
    return #settings.networks == 0 and network_shape(settings.identity) or nil
end

-- The shape of the body of a create call under these settings.
function M.shape(settings)
    return shapes.record({
        Image = image_shape(settings.images),
        Entrypoint = shapes.list(shapes.any_text(), 1, 1),
        Cmd = shapes.list(shapes.any_text(), 0, 512),
        Env = shapes.list(shapes.text(env_allowed), 0, 128),
        User = shapes.text(user_allowed),
        Labels = label_shape(settings.identity),
        ExposedPorts = shapes.record({ [PORT] = shapes.record({}) }),
        HostConfig = host_shapes(settings),
    })
end

return M
