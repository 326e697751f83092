std = "luajit"
max_line_length = 120
exclude_files = { "build", ".moonwake", "runtime/meta", "**/tree" }

-- The words of scripts, as runtime/prelude/api.lua defines them.
local api = dofile("runtime/prelude/api.lua")
local words, spec_words = {}, {}
for _, word in ipairs(api.words) do
  words[#words + 1], spec_words[#spec_words + 1] = word.name, word.name
end
for _, word in ipairs(api.spec_words) do
  spec_words[#spec_words + 1] = word.name
end
for _, folder in ipairs { "projections", "rules", "scripts", "spec/workspaces" } do
  files[folder] = { read_globals = words }
end
-- A line of a spec or a benchmark may hold a statement of SQL, or a script.
files["spec"] = { std = "+busted", max_line_length = false }
for _, folder in ipairs { "spec/projections", "spec/reducers", "spec/rules", "spec/upcasters",
  "spec/workspaces/*/spec" } do
  files[folder] = { read_globals = spec_words }
end
files["runtime/tools/spec.lua"] = { globals = { "arg" } }
files["runtime/prelude/api.lua"] = { max_line_length = false }
-- It makes what scripts see out of Lua's own library.
files["runtime/prelude/init.lua"] = { globals = { "math", "string", "table" } }
files["bench"] = { read_globals = words, max_line_length = false }
