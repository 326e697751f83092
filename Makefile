# moonwake: `make help` lists the targets.

B       ?= build
PREFIX  ?= /usr/local
PKGS     = luajit libpq libuv zlib libcrypto libedit libcurl
CFLAGS  ?= -O2 -g
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

FLAGS = -std=gnu11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror -fPIC -D_GNU_SOURCE \
	-Iruntime -I$(B) $(shell pkg-config --cflags $(PKGS)) -DMOONWAKE_VERSION='"$(VERSION)"' $(FAULTS)
LIBS  = $(shell pkg-config --libs $(PKGS)) -lcsv -lm -lpthread
FAULTS ?= -DMOONWAKE_FAULTS     # named crash points for the specs; `make install` leaves them out

SRC     := $(sort $(wildcard runtime/*/*.c))
OBJ      = $(SRC:%.c=$(B)/%.o)
LIBOBJ   = $(filter-out $(B)/runtime/app/main.o,$(OBJ))
PRELUDE := $(sort $(wildcard runtime/prelude/*.lua))
SPECLUA := $(sort $(wildcard runtime/spec/*.lua))
QUERIES := $(sort $(wildcard sql/queries/*.sql))
MIGRATE := $(sort $(wildcard sql/[0-9]*.sql))
GEN      = $(B)/prelude_data.inc $(B)/spec_data.inc $(B)/sql_queries.inc $(B)/sql_migrations.inc

.DEFAULT_GOAL = all
.PHONY: help deps all check test lint format asan bench soak demo install clean meta bench-nab
.DELETE_ON_ERROR:

help:                   ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

deps:                   ## install what building, running and testing need (Debian packages)
	sh runtime/tools/deps.sh

all: $(B)/moonwake $(B)/libmoonwake.so      ## build the program: build/moonwake

$(B)/moonwake: $(OBJ)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(OBJ) $(LIBS)

$(B)/libmoonwake.so: $(LIBOBJ)              # the same code for the specs, which call C through FFI
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $(LIBOBJ) $(LIBS)

$(B)/%.o: %.c Makefile | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Embedded Lua is source, not bytecode: tracebacks keep their lines.
$(B)/prelude_data.inc: runtime/tools/embed.lua $(PRELUDE)
	@mkdir -p $(@D)
	luajit runtime/tools/embed.lua $(PRELUDE) > $@

$(B)/spec_data.inc: runtime/tools/embed.lua $(SPECLUA)
	@mkdir -p $(@D)
	luajit runtime/tools/embed.lua $(SPECLUA) > $@

$(B)/sql_queries.inc: runtime/tools/sql2c.lua $(QUERIES)
	@mkdir -p $(@D)
	luajit runtime/tools/sql2c.lua queries $(QUERIES) > $@

$(B)/sql_migrations.inc: runtime/tools/sql2c.lua $(MIGRATE)
	@mkdir -p $(@D)
	luajit runtime/tools/sql2c.lua migrations $(MIGRATE) > $@

check: test             ## the same as test

test:                   ## the README's test command: lint and all specs, closes with `N passed, N failed`
	sh runtime/tools/test.sh --all $(B) $(SPECS)

lint:                   ## layers, banned calls, format, luacheck, clang-tidy, generated files
	sh runtime/tools/lint.sh $(B)

format:                 ## rewrite the C files in the house's format
	clang-format -i $(wildcard runtime/*/*.[ch] bench/*.c)

asan:                   ## the same build and specs under AddressSanitizer and UBSan
	$(MAKE) B=build/asan CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" all
	sh runtime/tools/test.sh build/asan $(SPECS)

meta:                   ## rewrite the editor stubs and the reference from prelude/api.lua
	luajit runtime/tools/meta.lua

bench: all              ## measure, as ratios within one run: build/bench.json
	sh bench/run.sh $(B)

bench-nab:              ## score the detectors of scripts/lib/detect.lua on the Numenta Anomaly Benchmark
	luajit bench/nab.lua

soak: all               ## the long versions of the specs
	MOONWAKE_SOAK=1 sh runtime/tools/test.sh $(B) $(SPECS)

demo:                   ## everything in one go: install, build, start, publish, project, show
	sh runtime/tools/demo.sh

install:                ## build without crash points and install to PREFIX
	$(MAKE) B=build/release FAULTS= all
	install -D -m 755 build/release/moonwake $(DESTDIR)$(PREFIX)/bin/moonwake
	install -D -m 644 runtime/meta/moonwake.lua $(DESTDIR)$(PREFIX)/share/moonwake/meta/moonwake.lua

clean:                  ## remove what was built
	rm -rf build

-include $(OBJ:.o=.d)
