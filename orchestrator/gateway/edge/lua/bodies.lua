-- Finds the member `model` of a JSON object without decoding it, in bytes that stay where they are.
--
-- Strings are jumped over from quote to quote. A body that lies in a file is mapped, not read.

local ffi = require "ffi"
ffi.cdef [[
void *memchr(const void *s, int c, size_t n);
void *memmem(const void *haystack, size_t length, const void *needle, size_t needle_length);
int memcmp(const void *a, const void *b, size_t n);
int open(const char *path, int flags);
int close(int fd);
int64_t lseek(int fd, int64_t offset, int whence);
void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset);
int munmap(void *addr, size_t length);
]]

local C = ffi.C
local string_of = ffi.string
local body_data = ngx.req.get_body_data
local body_file = ngx.req.get_body_file
local match, plain_find = string.match, string.find
local sleep = ngx.sleep
local min, max = math.min, math.max

local M = {}

local NAME_BYTES_MAX = 800 -- of a name with its escapes: longer ones are the daemon's to refuse
local STEP_BYTES = 1048576 -- looked at between two requests of the same worker: 0.2 ms
local FILE_BYTES_MAX = 268435456 -- beyond it nobody looks: the daemon decides
-- The most usual: the model comes first. The place behind it is told as well.
local FIRST = '^%s*{%s*"model"%s*:%s*"([^"\\]+)"()'
local KEY = '"model"'
-- No letter of `model` is written with an escape but by who hides it: such a name is the daemon's.
local HIDDEN = "\\u006"
local QUOTE, BACKSLASH, COLON, COMMA, OPEN, CLOSE, LIST, LIST_END = 34, 92, 58, 44, 123, 125, 91, 93

local NOT_HERE = -1 -- no quote in the bytes that were looked at

-- Whether the rest of an object may name a model once more.
local function may_name(p, at, n)
    return C.memmem(p + at, n - at, KEY, 7) ~= nil or C.memmem(p + at, n - at, HIDDEN, #HIDDEN) ~= nil
end

local bytes_type = ffi.typeof("const uint8_t *")

-- Whether the quote at `here` has a backslash before it that is none itself escaped.
local function is_escaped(p, here)
    local before = here - 1
    while p[before] == BACKSLASH do
        before = before - 1
    end
    return (here - before) % 2 == 0
end

-- Where the next quote is; NOT_HERE if not before `stop`.
local function quote_after(p, at, stop)
    local found = C.memchr(p + at, QUOTE, stop - at)
    if found == nil then
        return NOT_HERE
    end
    local here = tonumber(ffi.cast(bytes_type, found) - p)
    return here
end

local function after_space(p, at, stop)
    while at < stop and p[at] <= 32 do
        at = at + 1
    end
    return at
end

-- The string behind a key, and where it ends; nil: it is none, or one with escapes.
local function string_after(p, at, n)
    at = after_space(p, at, n)
    if at >= n or p[at] ~= COLON then
        return nil
    end
    at = after_space(p, at + 1, n)
    if at >= n or p[at] ~= QUOTE then
        return nil
    end
    local ends = quote_after(p, at + 1, n)
    local length = ends - at - 1
    if ends == NOT_HERE or length > NAME_BYTES_MAX or length == 0
        or C.memchr(p + at + 1, BACKSLASH, length) ~= nil then
        return nil
    end
    return string_of(p + at + 1, length), ends
end

-- The model of the object at p; nil: there is none, or only the daemon can tell.
--
-- Of a member that stands there twice the last one counts, as with decoders. `pause` is called now
-- and then in a long body. One flat loop: LuaJIT compiles no other.
local function find(p, n, pause)
    local at = after_space(p, 0, n)
    if at >= n or p[at] ~= OPEN then
        return nil
    end
    at = at + 1
    local depth, awaits_key, name, begins = 1, true, nil, NOT_HERE
    local step = pause and STEP_BYTES or n
    local stop = min(n, step)
    while at < n do
        if at >= stop then
            pause()
            stop = min(n, at + step)
        end
        if begins ~= NOT_HERE then -- in a string
            local here = quote_after(p, at, stop)
            if here == NOT_HERE then
                at = stop
            elseif p[here - 1] == BACKSLASH and is_escaped(p, here) then
                at = here + 1
            else
                at = here + 1
                if depth == 1 and awaits_key then
                    awaits_key = false
                    local length = here - begins
                    if length == 6 and C.memcmp(p + begins, KEY, 7) == 0 then
                        name, at = string_after(p, at, n)
                        if name == nil then
                            return nil
                        end
                        at = at + 1
                        stop = max(stop, min(n, at + 1))
                        if not pause and not may_name(p, at, n) then
                            return name
                        end
                    elseif length > 6 and C.memchr(p + begins, BACKSLASH, length) ~= nil then
                        return nil -- it may say `model` with escapes
                    end
                end
                begins = NOT_HERE
            end
        else
            local sign = p[at]
            if sign == QUOTE then
                begins = at
            elseif sign == COMMA then
                awaits_key = true
            elseif sign == OPEN or sign == LIST then
                depth = depth + 1
            elseif sign == CLOSE or sign == LIST_END then
                depth = depth - 1
                if depth == 0 then
                    return name
                end
            end
            at = at + 1
        end
    end
    return nil
end

M.find = find

local function yield()
    sleep(0)
end

local function in_file(path)
    local fd = C.open(path, 0)
    if fd < 0 then
        return nil
    end
    local length = tonumber(C.lseek(fd, 0, 2))
    local mapped = length > 0 and length <= FILE_BYTES_MAX and C.mmap(nil, length, 1, 2, fd, 0)
    C.close(fd)
    if not mapped or ffi.cast("intptr_t", mapped) == -1 then
        return nil
    end
    local fine, name = pcall(find, ffi.cast(bytes_type, mapped), length, yield)
    C.munmap(mapped, length)
    return fine and name or nil, length
end

-- Of the request whose body was read: its model, how many bytes the body has, and the body itself
-- where it is in memory.
function M.model()
    local body = body_data()
    if body == nil then
        local path = body_file()
        if path == nil then
            return nil, 0
        end
        return in_file(path)
    end
    local n, p = #body, ffi.cast(bytes_type, body)
    local name, ends = match(body, FIRST)
    if name ~= nil and not may_name(p, ends - 1, n) then
        return name, n, body
    end
    return find(p, n, nil), n, body
end

-- Whether a picture may be in a body that is in memory.
function M.may_show(body)
    return plain_find(body, '"image', 1, true) ~= nil or plain_find(body, '"input_image"', 1, true) ~= nil
end

-- Whether it may name a picture by an address, which its server would fetch: the daemon says if.
function M.may_fetch(body)
    local hidden = plain_find(body, HIDDEN, 1, true) ~= nil or plain_find(body, "\\u007", 1, true) ~= nil
    return (hidden or plain_find(body, "http", 1, true) ~= nil)
        and (hidden or M.may_show(body) or plain_find(body, '"input_', 1, true) ~= nil
            or plain_find(body, '"video_', 1, true) ~= nil or plain_find(body, "\\u005", 1, true) ~= nil)
end

return M
