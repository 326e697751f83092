-- The word that somebody probably meant.

--- Edits (a swap of neighbours is one) that turn `a` into `b`.
local function distance(a, b)
  local before, last, row = {}, {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last, row = last, row, before
  end
  return last[#b]
end


--- " (did you mean 'x'?)", or "" where no word of the list is near.
return function(word, list)
  local best, least
  if type(word) ~= "string" or #word > 60 then
    return ""
  end
  for _, candidate in ipairs(list) do
    local d = distance(word:lower(), candidate:lower())
    if d <= math.max(1, math.floor(#word / 3)) and (not least or d < least) then
      best, least = candidate, d
    end
  end
  return best and (" (did you mean '%s'?)"):format(best) or ""
end
