# make demo, make test, make lint, make bench: each makes .venv first, if it is not up to date.
# make bench BENCH='--quick', or other options of bench/__main__.py.
# make install, as root: a service of systemd's (docs/install.md).

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
CHECKED := relay tests bench

# A python of 3.11 or newer that can make environments, with pip in them.
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11

.PHONY: demo test crash soak fuzz lint bench install deb constraints clean

demo: $(INSTALLED)
	$(BIN)/relay demo

# A file's tests one after another, the files side by side.
test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(TESTS)

# Hundreds of kills, and every moment of a recording at which power may go; RELAY_CRASH_SEED repeats.
crash: $(INSTALLED_DEV)
	RELAY_CRASH_KILLS=$${RELAY_CRASH_KILLS:-200} RELAY_CRASH_MOMENTS=$${RELAY_CRASH_MOMENTS:-0} \
		$(BIN)/python -m pytest tests/crash -q -s

# Steady mail, and all sorts of troubles; SOAK_SEED repeats what happens.
soak: $(INSTALLED_DEV)
	SOAK_MINUTES=$${SOAK_MINUTES:-10} $(BIN)/python -m pytest tests/soak -q -s

# Each target of tests/fuzz at random for its share of the minutes; a failure prints how to repeat it.
fuzz: $(INSTALLED_DEV)
	RELAY_FUZZ_MINUTES=$${RELAY_FUZZ_MINUTES:-10} \
		$(BIN)/python -m pytest tests/fuzz -q -s -k fuzz -o timeout=0

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/mypy bench
	$(BIN)/lint-imports

bench: $(INSTALLED_DEV)
	$(BIN)/python bench $(BENCH)

# Where the relay lives, and where systemd looks for what an administrator has added.
PREFIX := /opt/relay
LOCAL := /usr/local

install: $(PREFIX)/bin/python
	$(PREFIX)/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint constraints.txt --upgrade .
	install -d $(LOCAL)/bin $(LOCAL)/lib/systemd/system $(LOCAL)/share/man/man8
	install -d $(LOCAL)/lib/sysusers.d $(LOCAL)/lib/tmpfiles.d
	ln -sf $(PREFIX)/bin/relay $(PREFIX)/bin/relay-sendmail $(LOCAL)/bin
	sed 's,/opt/relay,$(PREFIX),' systemd/relay.service > $(LOCAL)/lib/systemd/system/relay.service
	install -m 644 systemd/relay.socket $(LOCAL)/lib/systemd/system
	install -m 644 systemd/sysusers.d/relay.conf $(LOCAL)/lib/sysusers.d
	install -m 644 systemd/tmpfiles.d/relay.conf $(LOCAL)/lib/tmpfiles.d
	install -m 644 docs/relay.8 $(LOCAL)/share/man/man8
	systemd-sysusers relay.conf
	systemd-tmpfiles --create relay.conf
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

# A package for the Debian that it is built on (packaging/debian/build), in dist/.
deb: $(INSTALLED)
	packaging/debian/build $(BIN)/python dist

# Pins what a new environment gets today; for when dependencies change.
constraints:
	rm -rf build/constraints && mkdir -p build
	python3 -m venv build/constraints
	build/constraints/bin/python -m pip --quiet install --editable '.[dev]'
	build/constraints/bin/python -m pip freeze --exclude-editable > constraints.txt
	rm -rf build/constraints

clean:
	rm -rf $(VENV) build

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(INSTALLED)

$(BIN)/python $(PREFIX)/bin/python: %/bin/python:
	@for python in $(PYTHONS); do \
		if $$python -c '$(FITS)' 2>/dev/null; then \
			echo "making $* with $$python"; exec $$python -m venv $*; \
		fi; \
	done; \
	echo "No Python of 3.11 or newer with venv was found. On Debian and Ubuntu:" >&2; \
	echo "apt install python3-venv; or say where one is: make PYTHON=/path/to/python3" >&2; \
	exit 1
