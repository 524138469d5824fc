# Both targets set up all they need; they ask for Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# The generated archive of the quickstart: 3,000 patches take 0.9 GB, twice.
PATCHES ?= 3000
QUICK = quickstart
ARCHIVE = $(QUICK)/archive

.PHONY: quickstart test test-fast test-long clean

# The whole path on a generated archive; ends with a report.
quickstart: $(VENV)/.run-ready $(ARCHIVE)/README.txt
	$(BIN)/python prep_splits.py -r $(ARCHIVE)/BigEarthNet-S2 \
	    -s $(ARCHIVE)/BigEarthNet-S1 --metadata $(ARCHIVE)/metadata.parquet \
	    -o $(QUICK)/records --shard-size-mb 32
	$(BIN)/python train.py configs/quickstart.json
	$(BIN)/python eval.py configs/quickstart.json
	@echo "look at runs/quickstart/report.html, or"
	@echo "$(BIN)/tensorboard --logdir runs/quickstart/logs"

$(ARCHIVE)/README.txt: | $(VENV)/.run-ready
	$(BIN)/bigearthnet-tf sample --patches $(PATCHES) --out $(ARCHIVE)

# Style, types, and every test but the long ones. Takes 30 to 40 minutes on two cores.
test: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not long"

# The tests that take seconds rather than minutes.
test-fast: $(VENV)/.test-ready
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not long"

# What is exhaustive rather than needed at each landing: every shipped config, every
# architecture of Keras, many kills in place of a few. Takes as long again.
test-long: $(VENV)/.test-ready
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m long

$(VENV)/.run-ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test-ready: $(VENV)/.run-ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
	    --editable ".[test,dev,beam,faiss,huggingface,onnx]"
	touch $@

clean:
	rm -rf $(VENV) $(QUICK) build *.egg-info
