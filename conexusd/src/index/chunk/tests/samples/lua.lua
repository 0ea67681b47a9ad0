local json = require("json")
local util = require 'app.util'
local M = {}
local MAX = 3

-- Adds two numbers.
local function add(a, b)
  local sum = a + b
  return sum
end

function M.parse(text)
  return json.decode(text)
end

function M:close()
  self.open = false
end

M.format = function(value)
  return tostring(value)
end

M.handlers = {
  start = function()
    return 1
  end,
}

return M
