-- Shapes: each checks a decoded value and writes it anew as JSON.
--
-- A shape is a function(value, place) that returns JSON text, or nil and a sentence with the
-- place of what is wrong. Nothing that a shape does not write reaches the engine.

local json = require("docker_guard.json")

local M = {}

local TEXT_MAX = 8192 -- of one string, in bytes

local function wrong(place, why)
    return nil, place .. ": " .. why
end

-- A string that `check` (a function, or a Lua pattern for all of it) agrees with.
function M.text(check)
    return function(value, place)
        if type(value) ~= "string" or #value > TEXT_MAX or string.find(value, "%z") then
            return wrong(place, "is not a plain string")
        end
        local agreed
        if type(check) == "function" then
            agreed = check(value)
        else
            agreed = string.find(value, "^" .. check .. "$")
        end
        if not agreed then
            return wrong(place, "is not allowed to be " .. value)
        end
        return json.quote(value)
    end
end

function M.any_text()
    return M.text(function()
        return true
    end)
end

function M.one_of(...)
    local allowed = {}
    for _, each in ipairs({ ... }) do
        allowed[each] = true
    end
    return M.text(function(value)
        return allowed[value]
    end)
end

function M.yes()
    return function(value, place)
        if value ~= true then
            return wrong(place, "must be true")
        end
        return "true"
    end
end

function M.integer(low, high)
    return function(value, place)
        if type(value) ~= "number" or value % 1 ~= 0 or value < low or value > high then
            return wrong(place, "must be a whole number between " .. low .. " and " .. high)
        end
        return string.format("%.0f", value)
    end
end

local function length_of_list(value)
    if type(value) ~= "table" then
        return nil
    end
    local count = 0
    for _ in pairs(value) do
        count = count + 1
    end
    for i = 1, count do
        if value[i] == nil then
            return nil
        end
    end
    return count
end

function M.list(shape, low, high)
    return function(value, place)
        local count = length_of_list(value)
        if count == nil or count < low or count > high then
            return wrong(place, "must be a list of " .. low .. " to " .. high)
        end
        local parts = {}
        for i = 1, count do
            local part, why = shape(value[i], place .. "[" .. (i - 1) .. "]")
            if part == nil then
                return nil, why
            end
            parts[i] = part
        end
        return "[" .. table.concat(parts, ",") .. "]"
    end
end

-- An object whose members are all named in `required` or `optional`, in exactly that spelling.
function M.record(required, optional)
    optional = optional or {}
    return function(value, place)
        if type(value) ~= "table" then
            return wrong(place, "must be an object")
        end
        for name in pairs(required) do
            if value[name] == nil then
                return wrong(place .. "." .. name, "is missing")
            end
        end
        local parts = {}
        for name, inner in pairs(value) do
            local shape = required[name] or optional[name]
            if shape == nil then
                return wrong(place .. "." .. tostring(name), "is not allowed")
            end
            local part, why = shape(inner, place .. "." .. name)
            if part == nil then
                return nil, why
            end
            parts[#parts + 1] = json.quote(name) .. ":" .. part
        end
        return "{" .. table.concat(parts, ",") .. "}"
    end
end

return M
