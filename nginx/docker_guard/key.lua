-- The one file that may be put into a container: the key of its server, into a folder of its own.
--
-- What is forwarded is an archive that is made here, from the key alone: of the caller's archive
-- nothing is kept, neither names nor modes nor owners. The orchestrator's side of this agreement is
-- orchestrator/runtimes/docker/closed.py.

local M = {}

M.FOLDER = "/run/vram-orchestrator"

local BLOCK = 512
local BLOCKS = 4 -- a header, the key, and the two empty ones that end an archive
local KEY = "^([A-Za-z0-9_-]+)\n%z+$" -- what the caller's second block holds
local LENGTH_MIN, LENGTH_MAX = 32, 128

local function padded(text, size)
    return text .. string.rep("\0", size - #text)
end

-- A header of POSIX 1003.1-1990: a plain file that user 65534 alone may read.
local function header(size)
    local before = padded("key", 100) .. "0000400\0" .. "0177776\0" .. "0177776\0"
        .. string.format("%011o", size) .. "\0" .. "00000000000\0"
    local after = "0" .. padded("", 100) .. "ustar\000" .. "00" .. padded("", 247)
    local sum = 8 * 32 -- the place of the sum counts as spaces
    for i = 1, #before do
        sum = sum + string.byte(before, i)
    end
    for i = 1, #after do
        sum = sum + string.byte(after, i)
    end
    return before .. string.format("%06o", sum) .. "\0 " .. after
end

-- The archive to forward, or nil and why the caller's is none.
function M.archive(given)
    if #given ~= BLOCKS * BLOCK then
        return nil, "an archive holds a key and nothing else"
    end
    local key = string.match(string.sub(given, BLOCK + 1, 2 * BLOCK), KEY)
    if key == nil or #key < LENGTH_MIN or #key > LENGTH_MAX then
        return nil, "an archive holds a key and nothing else"
    end
    local content = key .. "\n"
    return header(#content) .. padded(content, BLOCK) .. string.rep("\0", 2 * BLOCK)
end

return M
