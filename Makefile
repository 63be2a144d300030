VENV ?= .venv
test:
	$(VENV)/bin/python -m pytest
.PHONY: test
