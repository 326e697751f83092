/* LuaJIT's FFI knows bool, the fixed-width integers, size_t and va_list by itself. */
