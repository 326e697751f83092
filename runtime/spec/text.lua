-- Texts of others, made fit for every report: valid UTF-8 that does nothing to a terminal and may stand in XML.

local SEQUENCES = { "^[\32-\126\10]+()", "^[\194-\223][\128-\191]()", "^[\224-\239][\128-\191][\128-\191]()",
  "^[\240-\244][\128-\191][\128-\191][\128-\191]()" }
-- Overlong forms, surrogates, U+FFFE and U+FFFF, what lies beyond U+10FFFF, and C1 control characters.
local REFUSED = { "^\194[\128-\159]", "^\224[\128-\159]", "^\237[\160-\191]", "^\239\191[\190\191]", "^\240[\128-\143]",
  "^\244[\144-\191]" }

local text = {}


local function refused(s, at)
  for _, pattern in ipairs(REFUSED) do
    if s:match(pattern, at) then
      return true
    end
  end
  return false
end


--- Every other byte becomes a question mark; lines stay lines, and tabs become spaces.
function text.clean(s)
  local out, at = {}, 1
  s = s:gsub("\t", "  "):gsub("\r\n", "\n")
  while at <= #s do
    local stop
    for i = 1, refused(s, at) and 0 or #SEQUENCES do
      stop = s:match(SEQUENCES[i], at)
      if stop then
        break
      end
    end
    out[#out + 1] = stop and s:sub(at, stop - 1) or "?"
    at = stop or at + 1
  end
  return table.concat(out)
end


--- The same in one line.
function text.line(s)
  return (text.clean(s):gsub("%s*\n%s*", " "))
end


return text
