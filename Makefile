# Whitebox. Each target is sufficient alone on a fresh Debian 12 with Swift 6.3, as root or with sudo: it installs what
# is missing, gets what it needs, and does nothing twice. `make SETUP=no …` leaves the system's packages alone.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

SETUP ?= yes
# Debian's own Python, because that is the one that python3-venv belongs to.
SYSTEM_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
python := .venv/bin/python
app := .build/release/app
# For machines without Swift: its own libraries are inside, those of the system are not.
static := .build/static/release/app
package := .build/package
PREFIX ?= /usr/local
DESTDIR ?=
networks := efficientnet-lite0 squeezenet1.1

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([-a-z%./]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 28

.PHONY: demo
demo: build models photos ## explain free photographs with two networks, by Grad-CAM and FEM side by side
	@for network in $(networks); do
	  echo "Explaining demo/photos with $$network"
	  $(app) explain demo/photos --model models/$$network.onnx --method gradcam,fem --device cpu \
	    --output demo/results/$$network --force
	done
	echo "Photograph, Grad-CAM and FEM side by side:"
	find demo/results -name '*.compare.png' | sort | sed 's/^/  /'

# Photographs of your own, or one more network: `make lab IMAGES=folder RESNET50=file.onnx` writes to demo/lab only.
.PHONY: lab
lab: build models .venv/lab ## the exercise that this came from: Documentation/Lab.md anew (IMAGES=folder, RESNET50=file.onnx: demo/lab/Lab.md)
	@$(python) Tools/lab/lab.py $(if $(IMAGES),--images "$(IMAGES)") $(if $(RESNET50),--resnet50 "$(RESNET50)") $(LAB)
	$(python) -m unittest Tools/tests/test_lab.py

.PHONY: test
test: test-tools models photos test-example .venv-opencl/ready ## run every test, in release, on the CPU and on OpenCL devices
	@# Without testable imports the compiler gets the flags of `make build`, and its results serve both.
	@# Thousands of lines; what failed is said once more at their end.
	WHITEBOX_CACHE_DIR="$(CURDIR)/.build/test-cache" swift test -c release --disable-testable-imports --disable-xctest 2>&1 | tee .build/test.log || {
	  printf '\nWhat failed:\n'
	  grep -a -A3 'recorded an issue' .build/test.log | cut -c1-500 | head -80
	  grep -a '✘ Test .* failed after' .build/test.log | cut -c1-200
	  exit 1
	}
ifneq ($(SETUP),no)
	@Tools/setup.sh oclgrind
endif
	@echo "ONNX's own tests, on the CPU and by OpenCL:"
	$(onnx-tests)
	@echo "A small network, by two more implementations of OpenCL:"
	$(python) Tools/opencl_matrix.py --quick
	@# The tests of the lab exercise that need the program, which may not have been there before.
	$(python) -m unittest Tools/tests/test_lab.py Tools/tests/test_watermark.py
	@echo "The Python package, and by it the interface for other languages:"
	$(test-package)

# With the library as it is built for tests. `make test-python` makes the wheel and tests that, which takes much longer.
package-folder := $(CURDIR)/.build/python
test-package = swift build -c release --product whitebox && rm -rf $(package-folder) && mkdir -p $(package-folder) \
	&& cp -r Python/whitebox $(package-folder)/ && cp .build/release/libwhitebox.so $(package-folder)/whitebox/ \
	&& cc -O2 -I Sources/CWhitebox/include Python/launcher.c -o $(package-folder)/whitebox/app -L .build/release -lwhitebox \
	  -Wl,-rpath,"$(CURDIR)/.build/release" -Wl,--allow-shlib-undefined -lgcc_s \
	&& PYTHONPATH=$(package-folder) $(python) -m unittest Python.tests.test_package

.PHONY: test-package
test-package: build models photos .venv/lab ## test the Python package and the interface for C without making a wheel, as `make test` does
	$(test-package)

SEED ?= 2
FIRST ?= 0
COUNT ?= 1000
# Which of a scene's pixels are the animal is known: LOCALISATION="--count 100 --heavy 30" for fewer scenes.
.PHONY: localisation
localisation: build models .venv/lab ## rank all methods by whether they find the object, on scenes with exact masks; hours, and goes on where it was ended
	$(python) Tools/localisation/localisation.py --documents $(LOCALISATION)

.PHONY: random-networks
random-networks: setup .venv/ready ## check more random networks than `make test` does (COUNT=1000 of SEED=2 from FIRST=0)
	@WHITEBOX_CACHE_DIR="$(CURDIR)/.build/test-cache" WHITEBOX_RANDOM_SEED=$(SEED) WHITEBOX_RANDOM_FIRST=$(FIRST) \
	  WHITEBOX_RANDOM_COUNT=$(COUNT) swift test -c release --disable-testable-imports --disable-xctest \
	  --filter RandomNetworkTests.agree

MINUTES ?= 5
SANITIZE ?= address thread
.PHONY: fuzz
fuzz: setup ## attack what reads models, pictures, arrays and settings (MINUTES=5 for each of FUZZ="onnx png jpeg webp tiff gif bmp tar exif npy json coco voc mask")
	@# Of several -sanitize=… the Swift compiler believes the last, so one names both: without it Swift code has no coverage to guide by.
	WHITEBOX_FUZZER=yes swift build -c release --scratch-path .build/fuzz --sanitize fuzzer --sanitize address \
	  -Xswiftc -sanitize=fuzzer,address --product Fuzzer
	Tools/fuzz.sh .build/fuzz/release/Fuzzer $(MINUTES) $(FUZZ)

.PHONY: sanitize
sanitize: setup models photos ## run tests with AddressSanitizer and, separately, ThreadSanitizer (SANITIZE="address thread")
	for sanitizer in $(SANITIZE); do Tools/sanitize.sh $$sanitizer; done

.PHONY: test-example
test-example: models photos ## build the example package, which uses the library from outside, and run it
	@# In debug: it compiles faster, and arithmetic is checked.
	swift build --package-path Examples --scratch-path .build/examples
	rm -rf .build/example-results
	.build/examples/debug/explain-image models/squeezenet1.1.onnx demo/photos/coffee.png .build/example-results > .build/example.txt
	grep -q '967 espresso' .build/example.txt || { cat .build/example.txt; echo "The example should say espresso."; exit 1; }
	test -s .build/example-results/results.json

.PHONY: test-report
test-report: build models photos .venv-report/ready ## look at reports in a browser, as a person would: controls, keyboard, hostile names, axe-core
ifneq ($(SETUP),no)
	@Tools/setup.sh chromium fonts-noto-core fonts-noto-cjk
endif
	.venv-report/bin/python -m unittest Tools/tests/test_report.py

.venv-report/ready: Tools/requirements-report.txt | setup
	rm -rf .venv-report
	$(SYSTEM_PYTHON) -m venv .venv-report
	.venv-report/bin/python -m pip install --quiet --disable-pip-version-check --requirement Tools/requirements-report.txt
	touch $@

.PHONY: test-tools
test-tools: .venv/lab ## test the tools in Python
	$(python) -m unittest discover --start-directory Tools/tests
	$(python) -m unittest discover --start-directory Benchmarks/tests

.PHONY: build
build: setup ## build the program .build/release/app
	swift build -c release --product app

# The flag for the compiler is for libwhitebox.so, which the package manager would link with Swift's own libraries; both share what is compiled.
static-build := swift build -c release --static-swift-stdlib -Xswiftc -static-stdlib --scratch-path .build/static

.PHONY: static
static: setup ## build the program for machines without Swift, .build/static/release/app
	$(static-build) --product app

.PHONY: libwhitebox
libwhitebox: setup ## build the library for other languages, .build/static/release/libwhitebox.so (its header: Sources/CWhitebox/include/whitebox.h)
	@$(static-build) --product whitebox -Xlinker --version-script="$(CURDIR)/Python/exports.map" -Xlinker --gc-sections

.PHONY: wheel
wheel: libwhitebox .venv-wheel/ready ## make the Python package, dist/whitebox-….whl
	@.venv-wheel/bin/python Tools/wheel.py .build/static/release/libwhitebox.so dist

.venv-wheel/ready: Tools/requirements-wheel.txt | setup
	rm -rf .venv-wheel
	$(SYSTEM_PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check --requirement Tools/requirements-wheel.txt
	touch $@

.PHONY: test-python
test-python: wheel build models photos .venv-python/ready ## test the Python package: in an empty environment, in one with everything, with PyTorch, in C; the notebook and Ray
	@echo "In an environment with nothing but the package and NumPy:"
	rm -rf .build/venv-empty
	$(SYSTEM_PYTHON) -m venv .build/venv-empty
	.build/venv-empty/bin/python -m pip install --quiet --disable-pip-version-check dist/whitebox-*.whl
	.build/venv-empty/bin/python -m unittest Python.tests.test_package
	@echo "In one with everything:"
	.venv-python/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/whitebox-*.whl
	.venv-python/bin/python -m unittest Python.tests.test_package Python.tests.test_examples
	@echo "From C, under AddressSanitizer and LeakSanitizer:"
	Tools/test_c.sh

.PHONY: test-torch
test-torch: wheel models photos .venv-bench/torch ## test networks that come from PyTorch (which is large)
	rm -rf .build/python-torch
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target .build/python-torch dist/whitebox-*.whl
	PYTHONPATH=.build/python-torch .venv-bench/bin/python -m unittest Python.tests.test_torch

.PHONY: from-others
from-others: test-torch ## the same tasks in pytorch-grad-cam, Captum and TorchCAM, and here: writes the tables of Documentation/FromOthers.md
	PYTHONPATH=.build/python-torch .venv-bench/bin/python Tools/from_others.py --documents

.PHONY: bench-python
bench-python: wheel models photos .venv-python/ready ## time importing the Python package and calls of it
	.venv-python/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/whitebox-*.whl
	.venv-python/bin/python Benchmarks/python_package.py

.venv-python/ready: Tools/requirements-python.txt | setup
	rm -rf .venv-python
	$(SYSTEM_PYTHON) -m venv .venv-python
	.venv-python/bin/python -m pip install --quiet --disable-pip-version-check --requirement Tools/requirements-python.txt
	touch $@

# Made anew only where a source is newer, so that `sudo make install` after `make package` neither builds nor asks for Swift.
.PHONY: package
package: $(package)/ready ## fill .build/package/: the program, completions for shells, manual pages, documentation, licences
$(package)/ready: $(shell find Sources kernels -type f) Package.swift LICENSE README.md CONTRIBUTING.md $(wildcard Documentation/*)
	@$(MAKE) --no-print-directory static
	# The parser's own generator of manual pages. (Its plug-in for packages would build this program once more, in debug.)
	parser=.build/static/checkouts/swift-argument-parser
	swift build --package-path $$parser --scratch-path .build/manual --product generate-manual
	rm -rf $(package)
	mkdir -p $(package)/{bin,share/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,doc/whitebox/licences}}
	cd $(package)
	strip -o bin/app ../static/release/app
	../manual/debug/generate-manual --multi-page --output-directory share/man/man1 "$$PWD/bin/app"
	bin/app --generate-completion-script bash > share/bash-completion/completions/app
	bin/app --generate-completion-script zsh > share/zsh/site-functions/_app
	bin/app --generate-completion-script fish > share/fish/vendor_completions.d/app.fish
	cp -r ../../{LICENSE,README.md,CONTRIBUTING.md,Documentation} share/doc/whitebox/
	# What is linked into the program.
	for checkout in ../static/checkouts/*/; do
	  for text in "$${checkout}"{LICENSE,NOTICE}*; do
	    if [ -e $$text ]; then cp $$text share/doc/whitebox/licences/$$(basename $$checkout)-$$(basename $$text); fi
	  done
	done
	touch ready

.PHONY: install
install: package ## install the program `app` with its manual pages and completions, below PREFIX=/usr/local (and DESTDIR)
	@to="$(DESTDIR)$(PREFIX)"
	list=share/doc/whitebox/installed-files
	cd $(package)
	files=$$(find bin share -type f)
	for file in $$files; do
	  case $$file in bin/*) mode=755 ;; *) mode=644 ;; esac
	  install -D -m $$mode $$file "$$to/$$file"
	done
	{ echo "$$files"; echo $$list; } > "$$to/$$list"
	echo "Installed $$to/bin/app, its manual pages and completions. Models are not installed: see --model and WHITEBOX_MODEL."

.PHONY: uninstall
uninstall: ## remove what `make install` put below PREFIX (and DESTDIR)
	@to="$(DESTDIR)$(PREFIX)"
	list="$$to/share/doc/whitebox/installed-files"
	if [ ! -e "$$list" ]; then echo "Nothing is installed below $$to."; exit; fi
	mapfile -t files < "$$list"
	for file in "$${files[@]}"; do rm -f "$$to/$$file"; done
	# Folders that others use stay.
	find "$$to/share/doc/whitebox" -depth -type d -empty -delete

.PHONY: models
models: .venv/ready ## get the trained networks, as ONNX, into models/
	@$(python) Tools/models.py models

.PHONY: photos
photos: .venv/ready ## get the demo's photographs into demo/photos/
	@$(python) Tools/models.py photos

models/random/%.onnx: .venv/ready ## write a network with random weights, such as models/random/resnet50.onnx
	@$(python) Tools/models.py random --architecture $* --seed 0 --output $@

# Not by a make in a make, which `make -n` would run, and the rest of its recipe with it.
define time-methods
.venv-bench/bin/python Benchmarks/networks.py models/bench resnet50 mobilenet_v2
.venv-bench/bin/python Benchmarks/methods.py --json models/bench/methods.json --markdown models/bench/methods.md $(METHODS)
endef

.PHONY: bench
bench: build photos .venv-bench/torch ## time us beside other engines, in one run (BENCH=--quick: two of them; see Benchmarks/compare.py)
	.venv-bench/bin/python Benchmarks/networks.py models/bench
	.venv-bench/bin/python Benchmarks/compare.py --json models/bench/rows.json --markdown models/bench/rows.md $(BENCH)
ifeq ($(BENCH),)
	$(time-methods)
endif

# Random weights: what is measured depends on no one's training.
.PHONY: bench-methods
bench-methods: build photos .venv-bench/torch ## time methods that take many passes beside their peers (METHODS="--only rise"; see Benchmarks/methods.py)
	$(time-methods)

.PHONY: slurm
slurm: build models photos ## walk through Examples/slurm on this machine, with Slurm's own daemons: as root
ifneq ($(SETUP),no)
	@Tools/setup.sh slurmctld slurmd slurm-client munge
endif
	Tools/slurm.sh $(app) models/efficientnet-lite0.onnx demo/photos

.PHONY: bench-batch
bench-batch: build models photos models/random/resnet50.onnx .venv-bench/torch .venv-opencl/ready ## time runs over 2,000 photographs beside classifying them and beside a peer (BATCH="--count 300"; see Benchmarks/batch.py)
	.venv-bench/bin/python Benchmarks/batch.py --resnet50 models/random/resnet50.onnx $(BATCH)

.PHONY: bench-evaluation
bench-evaluation: build models/random/resnet50.onnx .venv-bench/ready ## time insertion and deletion of a ResNet-50 map beside the forward passes that they need
	.venv-bench/bin/python Benchmarks/evaluation.py models/random/resnet50.onnx

.venv-bench/ready: Benchmarks/requirements.txt | setup
	rm -rf .venv-bench
	$(SYSTEM_PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --requirement Benchmarks/requirements.txt
	touch $@

# PyTorch brings gigabytes, so only the comparison installs it. torch.compile needs a C++ compiler.
.venv-bench/torch: .venv-bench/ready Benchmarks/requirements-torch.txt Benchmarks/requirements-torch-only.txt
ifneq ($(SETUP),no)
	@Tools/setup.sh g++ python3-dev
endif
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --requirement Benchmarks/requirements-torch.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement Benchmarks/requirements-torch-only.txt
	touch $@

.PHONY: crosscheck
crosscheck: build models photos .venv-bench/torch ## each method, and each metric, beside its reference from PyPI, run live on the same weights and pixels
	TQDM_DISABLE=1 .venv-bench/bin/python Tools/crosscheck/crosscheck.py --documents

define onnx-tests
WHITEBOX_CACHE_DIR="$(CURDIR)/.build/test-cache" $(python) Tools/onnx_tests.py --device cpu --device opencl:0 --least 900
endef

.PHONY: onnx-tests
onnx-tests: build .venv/ready ## run ONNX's own test data through the program, on the CPU and on an OpenCL device
	@$(onnx-tests) $(ONNX_TESTS)

.PHONY: zoo
zoo: build .venv-bench/zoo ## every classifier of torchvision and the families of timm, exported and compared (ZOO="resnet18 vit_b_16": these only)
	.venv-bench/bin/python Tools/zoo/zoo.py --documents $(if $(ZOO),--only $(ZOO))

.venv-bench/zoo: Tools/zoo/requirements.txt .venv-bench/torch
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement Tools/zoo/requirements.txt
	touch $@

.PHONY: winograd-error
winograd-error: build .venv-bench/ready ## the errors of 3x3 convolutions, by Winograd's way and direct, against double precision
	.venv-bench/bin/python Tools/winograd_error.py

.PHONY: opencl-matrix
opencl-matrix: build models photos .venv-opencl/ready ## the same bits on PoCL, Intel's OpenCL, oclgrind and rusticl? A table
ifneq ($(SETUP),no)
	@Tools/setup.sh oclgrind mesa-opencl-icd
endif
	@$(python) Tools/opencl_matrix.py $(MATRIX)

# Intel's OpenCL for CPUs, which lies in the environment's folder lib.
.venv-opencl/ready: Tools/requirements-opencl.txt | setup
	rm -rf .venv-opencl
	$(SYSTEM_PYTHON) -m venv .venv-opencl
	.venv-opencl/bin/python -m pip install --quiet --disable-pip-version-check --requirement Tools/requirements-opencl.txt
	touch $@

.PHONY: gpu-report
gpu-report: .venv/ready ## what compilers make of the GPU kernels: registers, spills, local memory (no GPU needed)
ifneq ($(SETUP),no)
	@Tools/setup.sh clang-19 libclc-19
endif
	@$(python) -m pip install --quiet --disable-pip-version-check nvidia-cuda-nvcc-cu12 nvidia-cuda-nvdisasm
	@$(python) Tools/gpu_report.py

.PHONY: gpu-bundle
gpu-bundle: static models photos ## fill .build/gpu-bundle/: what to carry to a machine with a GPU, and there run gpu.sh
	@bundle=.build/gpu-bundle
	rm -rf $$bundle
	mkdir -p $$bundle/lib $$bundle/models $$bundle/photos $$bundle/Tools
	strip -o $$bundle/app $(static)
	# The far side has the C and C++ libraries; it may lack these, and OpenCL's loader.
	for name in libpng16.so.16 libturbojpeg.so.0 libwebp.so.7 libwebpdemux.so.2 libgif.so.7 libdeflate.so.0 libnettle.so.8 libz.so.1 libOpenCL.so.1; do
	  cp -L "$$(ldconfig -p | sed -n "s|.*$$name .*=> \(.*\)|\1|p" | head -1)" $$bundle/lib/
	done
	cp Benchmarks/gpu.sh Benchmarks/gpu_torch.py $$bundle/
	cp Tools/*.py $$bundle/Tools/
	cp models/squeezenet1.1.onnx $$bundle/models/
	cp demo/photos/*.jpg $$bundle/photos/
	tar -czf $$bundle.tar.gz -C .build gpu-bundle
	ls -l $$bundle.tar.gz

.PHONY: format
format: setup ## rewrite every Swift file in the project's style
	git ls-files -z --cached --others --exclude-standard '*.swift' | xargs -0 swift format --in-place --parallel

.PHONY: lint
lint: setup ## check every Swift file's style
	git ls-files -z --cached --others --exclude-standard '*.swift' | xargs -0 swift format lint --strict --parallel

.PHONY: clean
clean: ## remove what was built and the demo's results; downloads stay
	rm -rf .build demo/results demo/lab/results demo/lab/figures

.PHONY: distclean
distclean: clean ## remove the downloads too
	rm -rf .venv .venv-bench models demo

.PHONY: setup
setup: ## install the system packages that are missing
ifneq ($(SETUP),no)
	@Tools/setup.sh
endif

.venv/ready: Tools/requirements.txt | setup
	@echo "Preparing Python packages in .venv"
	rm -rf .venv
	$(SYSTEM_PYTHON) -m venv --system-site-packages .venv
	$(python) -m pip install --quiet --disable-pip-version-check --no-input --requirement Tools/requirements.txt
	touch $@

.venv/lab: Tools/requirements-lab.txt .venv/ready
	$(python) -m pip install --quiet --disable-pip-version-check --no-input --requirement Tools/requirements-lab.txt
	touch $@

# A recipe is one script: its lines share a shell, and the first failure ends it.
.ONESHELL:
