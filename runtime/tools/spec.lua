-- Runs one spec file under busted: luajit runtime/tools/spec.lua FILE
local ffi = require "ffi"

ffi.cdef "int unsetenv(const char *name);"

-- A sanitizer's library is preloaded into this process only; the programs that it starts have their own, and look for
-- leaks, which this one does not.
ffi.C.unsetenv("LD_PRELOAD")
ffi.C.unsetenv("ASAN_OPTIONS")

-- What drives programs and servers needs no speed, and a compiled trace of a long spec has ended this process with a
-- segmentation fault (LuaJIT 2.1 as Debian 12 has it).
if arg[1]:match("^spec/e2e/") or arg[1]:match("^spec/sql/") then
  jit.off()
  jit.flush()
end

arg = { [0] = "spec", "--ignore-lua", "-o", "runtime/tools/busted_output.lua", arg[1] }
require "busted.runner" { standalone = false }
