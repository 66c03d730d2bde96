-- Reads a body the strict way: plain JSON, not deep, and no member twice.
--
-- Go's decoder takes the last of two members with one name, or merges them, or matches them
-- without regard to case. Whoever checks a body must not read it differently from the engine, so
-- what could be read in two ways is not read at all.

local cjson = require("cjson").new()

local M = {}

local DEPTH_MAX = 12 -- an honest body has 6 levels

cjson.decode_max_depth(DEPTH_MAX)
cjson.decode_invalid_numbers(false)

-- Where the string that begins at `start` (its quote) ends.
local function string_end(text, start)
    local at = start + 1
    while true do
        at = string.find(text, '["\\]', at)
        if string.byte(text, at) == 34 then
            return at
        end
        at = at + 2
    end
end

-- The first member that an object of this valid JSON text names twice, or nil.
local function repeated_member(text)
    local open, at = {}, 1
    while true do
        at = string.find(text, '["{}%[%]]', at)
        if at == nil then
            return nil
        end
        local mark = string.sub(text, at, at)
        if mark == '"' then
            local last = string_end(text, at)
            if string.find(text, "^%s*:", last + 1) then
                -- Decoded, because "\u0048ostConfig" names the same member.
                local name = cjson.decode("[" .. string.sub(text, at, last) .. "]")[1]
                local members = open[#open]
                if members[name] then
                    return name
                end
                members[name] = true
            end
            at = last
        elseif mark == "{" or mark == "[" then
            open[#open + 1] = {}
        else
            open[#open] = nil
        end
        at = at + 1
    end
end

-- Returns the value, or nil and what is wrong with the text.
function M.decode(text)
    -- Patterns of Lua end at a NUL, and some decoders do.
    if string.find(text, "%z") then
        return nil, "holds a NUL"
    end
    local fine, value = pcall(cjson.decode, text)
    if not fine then
        return nil, "is not plain JSON"
    end
    local name = repeated_member(text)
    if name then
        return nil, "has the member " .. name .. " twice"
    end
    return value
end

function M.quote(text)
    return cjson.encode(tostring(text))
end

return M
