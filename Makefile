# The door: `make demo` and `make test` install what is missing, build into build/ and run.
TOOLS := $(notdir $(patsubst %/CMakeLists.txt,%,$(wildcard tools/*/CMakeLists.txt)))
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export CCACHE_SLOPPINESS := pch_defines,time_macros,include_file_mtime,include_file_ctime

.PHONY: help setup configure build tools demo test docs clean
help:
	@echo "make demo   compile a trained vision transformer to FP8 for CPU and GPU and classify 1,000 digits"
	@echo "make test   build everything and run every test"
	@echo "make build  set up and build (build/bin, build/venv/bin)"
	@echo "make docs   write docs/generated again from the .td files"
	@echo "make clean  remove build/"

setup:
	@scripts/setup.sh

configure: setup
	@test -f build/build.ninja || cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@ninja -C build --quiet build.ninja

build: configure
	@ninja -C build --quiet

tools: configure
	@ninja -C build --quiet $(TOOLS) VitrifyEmulatedCuda

demo: tools
	@build/venv/bin/python examples/mnist/demo.py

test: build
	@build/venv/bin/python scripts/run_tests.py

docs: tools
	@build/venv/bin/python scripts/check_docs.py --write

clean:
	rm -rf build
