-- Runs one spec file under busted: luajit runtime/tools/spec.lua FILE
local ffi = require "ffi"

ffi.cdef "int unsetenv(const char *name);"

-- A sanitizer's library is preloaded into this process only; what it starts has its own.
ffi.C.unsetenv("LD_PRELOAD")

arg = { [0] = "spec", "--ignore-lua", "-o", "runtime/tools/busted_output.lua", arg[1] }
require "busted.runner" { standalone = false }
